#!/bin/sh
# Installs RabbitMQ, Prometheus and Chromium for the tests, which start private ones. Where they
# cannot be installed, prints which are missing.
set -eu
missing=
[ -e /usr/sbin/rabbitmq-server ] || missing="$missing rabbitmq-server"
[ -e /usr/bin/promtool ] || command -v promtool > /dev/null || missing="$missing prometheus"
[ -e /usr/bin/chromium ] || missing="$missing chromium"
[ -e /usr/lib/x86_64-linux-gnu/libatomic.so.1 ] || [ -e /usr/lib/aarch64-linux-gnu/libatomic.so.1 ] ||
  missing="$missing libatomic1"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "Not installed:$missing; the tests that need it will be skipped. On Debian: sudo apt-get install$missing" >&2
  exit 0
fi
echo "Installing for the tests:$missing"
# Install the programs without starting their servers.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
apt-get install -y -qq --no-install-recommends $missing > /dev/null
