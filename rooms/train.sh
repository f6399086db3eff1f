#!/bin/bash
# train.sh NAME CMD…: runs CMD in its own session at the lowest autogroup priority, log in /work/cache/log-NAME, group id in /work/rooms/trainings/NAME.pid
mkdir -p /work/rooms/trainings; n=$1; shift
setsid bash -c 'echo 19 > /proc/self/autogroup 2>/dev/null; renice -n 19 $$ >/dev/null; echo $$ > /work/rooms/trainings/'$n'.pid; exec nice -n 19 "$@"' _ "$@" > /work/cache/log-$n 2>&1 < /dev/null &
