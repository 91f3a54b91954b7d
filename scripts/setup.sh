#!/bin/sh
# Installs a pinned uv into .tools, then the workspace into .venv, with the versions of uv.lock.
set -eu
UV_VERSION=0.13.9

python=${PYTHON:-python3}
if ! command -v "$python" > /dev/null || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "halftone needs Python 3.11 or newer; set PYTHON to one, e.g. make demo PYTHON=python3.12" >&2
  exit 1
fi

# Bare Debian has Python without venv.
make_venv() {
  "$python" -m venv .tools > /dev/null 2>&1 && return
  rm -rf .tools
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get update -qq && apt-get install -y -qq "python$version-venv" > /dev/null && "$python" -m venv .tools
  else
    echo "Python has no venv module. On Debian, run: sudo apt-get install python$version-venv" >&2
    exit 1
  fi
}

if ! .tools/bin/uv --version 2> /dev/null | grep -q "^uv $UV_VERSION"; then
  echo "Setting up (once)"
  rm -rf .tools
  make_venv
  .tools/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
fi

export UV_PYTHON_DOWNLOADS=never
# If Python may not write compiled code, it compiles every module at each start, and our own modules
# are a quarter of a program's start. So this script compiles them, and uv what it installs.
compile_now=${PYTHONDONTWRITEBYTECODE:-}
if [ "$compile_now" ]; then
  export UV_COMPILE_BYTECODE=1
fi
first=$([ -d .venv ] || echo yes)

sync() {
  .tools/bin/uv sync --quiet --locked --python "$python" "$@"
}

# The JPEG accelerator is compiled here, if there is a compiler. Everything works without it.
can_compile() {
  include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  printf '#include <stdio.h>\n#include <jpeglib.h>\n#include <Python.h>\n' |
    ${CC:-cc} -I "$include" -fsyntax-only -x c - 2> /dev/null
}

if ! { can_compile && sync --group accelerator 2> /dev/null; }; then
  sync
  if [ "$first" ]; then
    echo "Without the JPEG accelerator, which takes a C compiler and headers (Debian: gcc, python3-dev, libjpeg62-turbo-dev)"
  fi
fi

if [ "$compile_now" ]; then
  .venv/bin/python -m compileall -q -- */src benchmarks tests
fi
