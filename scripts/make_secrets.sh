#!/bin/sh
# Makes random passwords for docker-compose.yml in ./secrets, once. Containers read them as user
# 10001.
set -eu
cd "$(dirname "$0")/.."
if [ -e secrets/halftone_database_url ]; then
  echo "secrets/ is there already"
  exit 0
fi
mkdir -p secrets
chmod 755 secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
postgres=$(random)
rabbitmq=$(random)
printf %s "$postgres" > secrets/postgres_password
printf 'default_user = halftone\ndefault_pass = %s\n' "$rabbitmq" > secrets/rabbitmq.conf
printf %s "postgresql://halftone:$postgres@postgres:5432/halftone" > secrets/halftone_database_url
printf %s "amqp://halftone:$rabbitmq@rabbitmq:5672/%2F" > secrets/halftone_rabbitmq_url
printf 'whsec_%s' "$(head -c 32 /dev/urandom | base64)" > secrets/halftone_webhook_secret
random > secrets/grafana_password
chmod 644 secrets/*
echo "Made secrets/. Keep it out of version control and of everybody's sight."
