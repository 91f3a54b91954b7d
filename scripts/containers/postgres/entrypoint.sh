#!/bin/sh
# Makes the database on the first start, then becomes PostgreSQL's server.
set -eu
data=/var/lib/postgresql/data
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
mkdir -p "$data" /var/run/postgresql
chown -R postgres:postgres /var/lib/postgresql /var/run/postgresql
if [ ! -s "$data/PG_VERSION" ]; then
  install -m 600 -o postgres "$POSTGRES_PASSWORD_FILE" /var/run/postgresql/password
  as_postgres initdb --pgdata "$data" --username "$POSTGRES_USER" --encoding UTF8 \
    --pwfile /var/run/postgresql/password --auth-host scram-sha-256 --auth-local trust
  rm /var/run/postgresql/password
  echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
  as_postgres pg_ctl --pgdata "$data" --wait --options "-h ''" start
  as_postgres createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
  as_postgres pg_ctl --pgdata "$data" --wait stop
fi
exec setpriv --reuid postgres --regid postgres --init-groups postgres -D "$data" -h '*'
