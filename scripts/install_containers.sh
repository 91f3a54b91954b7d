#!/bin/sh
# What `make containers` needs of Debian: podman with its network, buildah, debootstrap, a registry
# for the test of scripts/pin_base_images.sh, and HAProxy for the upgrade.
set -eu
missing=
for program in podman buildah runc debootstrap iptables skopeo docker-registry haproxy; do
  command -v "$program" > /dev/null || missing=yes
done
[ "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "make containers runs as root on Debian, with podman, buildah, runc, debootstrap," \
    "iptables, skopeo, docker-registry and haproxy." >&2
  exit 1
fi
echo "Installing podman, buildah, debootstrap, skopeo, docker-registry and haproxy"
# Install the programs without starting their servers.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
  podman buildah runc debootstrap netavark aardvark-dns iptables catatonit skopeo docker-registry \
  haproxy > /dev/null
