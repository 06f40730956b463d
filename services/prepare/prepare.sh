#!/usr/bin/env bash
# Docker creates a missing bind source as root's, where the containers' user could not write. Such
# folders, and only the folders themselves, become APP_UID:APP_GID's; one that is somebody else's
# stays so. A volume is nobody's but ours: it is given away with all it holds.
#
#   APP_UID=1000 APP_GID=1000 prepare [--volume FOLDER] FOLDER...
set -euo pipefail

if [ "$1" = --volume ]; then
  [ "$(stat -c %u "$2")" = "$APP_UID" ] || chown --recursive "$APP_UID:$APP_GID" "$2"
  shift 2
fi

for folder in "$@"; do
  owner=$(stat -c %u "$folder")
  if [ "$owner" = "$APP_UID" ]; then
    continue
  elif [ "$owner" = 0 ]; then
    chown "$APP_UID:$APP_GID" "$folder"
    echo "prepare: $folder now belongs to $APP_UID:$APP_GID"
  else
    group=$(stat -c %g "$folder")
    echo "prepare: $folder belongs to uid $owner, but the containers run as uid $APP_UID." \
      "If training cannot write there, put these two lines into .env:" >&2
    printf 'APP_UID=%s\nAPP_GID=%s\n' "$owner" "$group" >&2
  fi
done
