#!/usr/bin/env bash
# Makes the secrets that compose.yaml mounts, each in a file of its own; what is there already stays.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
make() { [ -s "$1" ] || { printf '%s' "$2" > "$1"; echo "made secrets/$1"; }; }

make ray_token "$(random)"
make postgres_password "$(random)"
make grafana_password "$(random)"
make s3_user manta
make s3_password "$(random)"
make aws_credentials "$(printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$(cat s3_user)" "$(cat s3_password)")"
# Containers read them as another user than the one who made them.
chmod 644 ./*
chmod 711 .
