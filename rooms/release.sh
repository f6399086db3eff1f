#!/bin/bash
while ! [ -f /work/cache/build.done ]; do sleep 2; done
cd /work/main && CARGO_TARGET_DIR=/work/cache/t-release cargo build --release && cp /work/cache/t-release/release/hilum /work/cache/hilum && make onnxruntime && touch /work/cache/hilum.ready
