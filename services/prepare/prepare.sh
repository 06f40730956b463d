#!/usr/bin/env bash
# Docker creates a missing bind source as root's, where the containers' user could not write.
# Such folders, and only the folders themselves, become APP_UID:APP_GID's. One that is somebody
# else's stays so.
#
#   APP_UID=1000 APP_GID=1000 prepare FOLDER...
set -euo pipefail

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
