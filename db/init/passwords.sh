#!/bin/bash
# Makes the passwords at the first start, in volumes that only this stack mounts; keeps them at every later one.
# Runs in the database's image, whose account mysql must read them; workers (group 10001) read muster_password alone,
# the service admin (group 10002) admin_password alone.
set -euo pipefail
folder=/run/muster
admin=/run/muster-admin

# The file appears whole: a start that was cut short leaves no half password behind.
put() {
  local file=$1 group=$2 mode=$3
  (umask 077; cat >"$file.new")
  chown "mysql:$group" "$file.new"
  chmod "$mode" "$file.new"
  mv "$file.new" "$file"
  echo "made ${file##*/}"
}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

[[ -s $folder/root_password ]] || random | put "$folder/root_password" mysql 0400
[[ -s $folder/muster_password ]] || random | put "$folder/muster_password" 10001 0440
[[ -s $admin/admin_password ]] || random | put "$admin/admin_password" 10002 0440

# Who may invite: makes accounts, passes on its rights on the tables, and ends sessions. The database reads this file
# at its first start; MySQL and MariaDB each skip what is written for the other.
[[ -s $admin/accounts.sql ]] || put "$admin/accounts.sql" mysql 0400 <<SQL
CREATE USER IF NOT EXISTS 'muster_admin'@'%' IDENTIFIED BY '$(<"$admin/admin_password")' REQUIRE SSL;
GRANT CREATE USER, PROCESS /*!80000 , CONNECTION_ADMIN */ /*M! , CONNECTION ADMIN */ ON *.* TO 'muster_admin'@'%';
GRANT ALL ON muster.* TO 'muster_admin'@'%' WITH GRANT OPTION;
ALTER USER 'muster'@'%' REQUIRE SSL;
SQL
