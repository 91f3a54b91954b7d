#!/bin/sh
# What `make containers` needs of Debian: podman with its network, buildah, and debootstrap.
set -eu
missing=
for program in podman buildah runc debootstrap iptables; do
  command -v "$program" > /dev/null || missing=yes
done
[ "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "Containers are run as root on Debian, with podman, buildah, runc, debootstrap and iptables." >&2
  exit 1
fi
echo "Installing podman, buildah and debootstrap"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
  podman buildah runc debootstrap netavark aardvark-dns iptables catatonit > /dev/null
