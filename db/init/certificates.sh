#!/bin/bash
# Makes a CA and the server's certificate at the first start, in the volume of the passwords; keeps them later.
# The CA's key is forgotten at once: nobody can sign another certificate, so that who trusts this CA trusts this server
# alone, whatever its host is called. Removing server-cert.pem makes both anew; invitations of before end with it.
set -euo pipefail
folder=/run/muster
[[ -s $folder/server-cert.pem ]] && exit

# In memory: the CA's key never touches a disk.
work=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$work"' EXIT
names="DNS:db,DNS:localhost,IP:127.0.0.1"
host=${MUSTER_PUBLIC_HOST:-}
if [[ $host =~ ^[0-9.]+$ || $host == *:* ]]; then names+=",IP:$host"; elif [[ -n $host ]]; then names+=",DNS:$host"; fi

cat >"$work/config" <<CONFIG
[req]
distinguished_name = subject
prompt = no
[subject]
CN = muster
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = $names
CONFIG
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config "$work/config")
umask 077
openssl req -x509 "${key[@]}" -extensions authority -days 3650 -keyout "$work/ca-key.pem" -out "$work/ca.pem"
openssl req "${key[@]}" -subj /CN=muster-db -keyout "$work/server-key.pem" -out "$work/request.pem"
openssl x509 -req -in "$work/request.pem" -CA "$work/ca.pem" -CAkey "$work/ca-key.pem" -CAcreateserial -days 3650 \
  -extfile "$work/config" -extensions server -out "$work/server-cert.pem"
openssl verify -CAfile "$work/ca.pem" "$work/server-cert.pem"

install -o mysql -g mysql -m 0400 "$work/server-key.pem" "$folder/server-key.pem"
install -m 0444 "$work/ca.pem" "$folder/ca.pem"
# Last: while it is missing, the next start begins anew.
install -m 0444 "$work/server-cert.pem" "$folder/server-cert.pem.new"
mv "$folder/server-cert.pem.new" "$folder/server-cert.pem"
echo "made a CA and the server's certificate for $names"
