#!/bin/sh
# Pins every base image of the Dockerfile and of docker-compose.yml to its digest of today, behind
# its tag (python:3.13-slim-trixie@sha256:…). Another run updates the digests.
# Needs skopeo and the network.
set -eu
cd "$(dirname "$0")/.."
if ! command -v skopeo > /dev/null; then
  echo "skopeo is not installed. On Debian: sudo apt-get install skopeo" >&2
  exit 1
fi
transport=${TRANSPORT:-docker://}

# pin FILE IMAGE: write the image's digest behind its tag in the file.
pin() {
  name=${2%%@*}
  case $name in */*) reference=$name ;; *) reference=docker.io/library/$name ;; esac
  digest=$(skopeo inspect --no-tags --format '{{.Digest}}' "$transport$reference")
  sed -i "s|$name\(@sha256:[0-9a-f]*\)\{0,1\}|$name@$digest|" "$1"
  echo "$1: $name@$digest"
}

pin Dockerfile "$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)"
sed -n 's/^ *image: //p' docker-compose.yml | while read -r image; do
  pin docker-compose.yml "$image"
done
