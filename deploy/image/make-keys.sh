#!/bin/sh
# The secrets of one deployment, made on its first start and never changed after. What Lethe alone
# reads lies under /var/lib/lethe/keys; PostgreSQL and Redis see a volume each, with one password.
set -eu
umask 077

# made FILE MODE TEXT: a file that is there is left alone, whatever it holds
made() {
  [ -s "$1" ] && return
  printf '%s' "$3" >"$1.new"
  chmod "$2" "$1.new"
  mv "$1.new" "$1"
  echo "made $1"
}
random() { python -Ic 'import secrets; print(secrets.token_urlsafe(32), end="")'; }

keys=/var/lib/lethe/keys
mkdir -p "$keys"
# Their volumes have one file and one reader, which runs as another user: hence 0444.
chmod 0755 /var/lib/lethe-postgres /var/lib/lethe-redis
made /var/lib/lethe-postgres/password 0444 "$(random)"
made /var/lib/lethe-redis/password 0444 "$(random)"
made "$keys/database_url" 0400 "postgresql://lethe:$(cat /var/lib/lethe-postgres/password)@postgres/lethe"
made "$keys/broker_url" 0400 "redis://:$(cat /var/lib/lethe-redis/password)@redis:6379/0"
made "$keys/secret" 0400 "$(random)"
