#!/bin/bash
# land.sh NAME [python]: brings main into branch NAME, checks, and moves main up to it. Run from anywhere. One at a time (lock).
# Say `python` when nothing that Rust reads was changed. The Rust check is clippy, unit and layout tests, and of tests/it
# the modules that this branch changed and a few that everything touches; the whole suite is run later by the one who merges.
exec 9>/work/rooms/land.lock; flock 9
set -e
cd /work/rooms/$1; export CARGO_TARGET_DIR=/work/cache/t-$1
[ -z "$(git status --porcelain --untracked-files=no)" ] || { echo "uncommitted changes"; exit 1; }
git merge --no-edit main || { echo "CONFLICT: resolve, commit, call again"; exit 1; }
if [ "$2" = python ]; then
  [ -z "$(git diff --name-only main HEAD | grep -E '\.rs$|^Cargo|^proto/')" ] || { echo "Rust files were changed: land without 'python'"; exit 1; }
else
  cargo fmt; git diff --quiet || git commit -qam "Format"
  cargo clippy --all-targets -- -D warnings
  cargo test --lib --test layout
  mods=$(git diff --name-only main HEAD -- tests/it | sed -n 's,tests/it/\([a-z_]*\).*,\1::,p' | grep -vE '^(main|harness|gated|process|http_client)::' | sort -u)
  cargo test --test it -- documents:: protocol:: rest:: commands:: model_info:: $mods
fi
git -C /work/main merge --ff-only $1
echo LANDED $(git -C /work/main log --oneline | head -1)
