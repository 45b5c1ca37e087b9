#!/bin/bash
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
    chown -R rabbitmq:rabbitmq /var/lib/rabbitmq
    exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups "$0" "$@"
fi
printf '%s\n' "default_user = ${RABBITMQ_DEFAULT_USER:?}" "default_pass = ${RABBITMQ_DEFAULT_PASS:?}" \
    'log.console = true' > /tmp/rabbitmq.conf
export RABBITMQ_CONFIG_FILE=/tmp/rabbitmq.conf RABBITMQ_LOGS=-
exec rabbitmq-server
