#!/bin/sh
# RabbitMQ for the tests, which start a private one: installed here where that can be done, and said otherwise.
set -eu
[ -e /usr/sbin/rabbitmq-server ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "RabbitMQ is not installed; the tests that need it will be skipped. On Debian: sudo apt-get install rabbitmq-server" >&2
  exit 0
fi
echo "Installing rabbitmq-server for the tests"
# Only the program is wanted, not a broker that runs from now on.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends rabbitmq-server > /dev/null
