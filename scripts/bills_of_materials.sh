#!/bin/sh
# Writes a CycloneDX bill of materials of each image's Python packages, from uv.lock, into the
# folder that is given, or into sbom/.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-sbom}
mkdir -p "$folder"
# The Dockerfile names each image's distribution and extras behind --package.
sed -n 's/^FROM build AS build-//p; s/.*uv sync .*\(--package [^\\]*\).*/\1/p' Dockerfile |
  while read -r target && read -r packages; do
    # shellcheck disable=SC2086 # a list of options
    .tools/bin/uv export --quiet --frozen --no-dev --format cyclonedx1.5 $packages \
      > "$folder/$target.cdx.json"
    echo "$folder/$target.cdx.json"
  done
