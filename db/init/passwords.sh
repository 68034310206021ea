#!/bin/bash
# Makes the two passwords at the first start, in the volume that only this stack mounts; keeps them at every later one.
# Runs in the database's image, whose account mysql must read both; workers (group 10001) read the second one alone.
set -euo pipefail
folder=/run/muster

keep_or_make() {
  local file=$folder/$1 group=$2 mode=$3
  [[ -s $file ]] && return
  # The file appears whole: a start that was cut short leaves no half password behind.
  (umask 077; od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$file.new")
  chown "mysql:$group" "$file.new"
  chmod "$mode" "$file.new"
  mv "$file.new" "$file"
  echo "made $1"
}

keep_or_make root_password mysql 0400
keep_or_make muster_password 10001 0440
