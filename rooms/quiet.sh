#!/bin/bash
# quiet.sh CMD…: stops the background trainings while CMD runs (for measurements)
for f in /work/rooms/trainings/*.pid; do [ -f $f ] && kill -STOP -- -$(cat $f) 2>/dev/null; done
"$@"; rc=$?
for f in /work/rooms/trainings/*.pid; do [ -f $f ] && kill -CONT -- -$(cat $f) 2>/dev/null; done
exit $rc
