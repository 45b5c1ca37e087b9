#!/bin/sh
set -e
if [ "$(id -u)" = 0 ]; then
    chown redis:redis /data
    exec setpriv --reuid redis --regid redis --init-groups "$0" "$@"
fi
# The official image is built without protected mode.
[ "$1" = redis-server ] && set -- "$@" --protected-mode no
exec "$@"
