#!/bin/sh
# uv pip install, in a build: from the index that the build secret names, if there is one. The mirror's
# address and password then lie in no layer and in no history.
set -eu
if [ -s /run/secrets/index ]; then
  UV_DEFAULT_INDEX=$(cat /run/secrets/index)
  export UV_DEFAULT_INDEX
fi
# Compiled here: containers may not write beside the code, and would compile at each start.
exec /mnt/uv pip install --quiet --no-cache --compile-bytecode "$@"
