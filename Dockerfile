# Two images from one file:
#   docker build --target cpu  -t propetl .           (the default)
#   docker build --target cuda -t propetl:cuda .      (linux/amd64; needs PyPI while it builds)
# Configure the server by environment variables: the health check does not see flags.

FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
COPY console/package.json console/
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY src src
COPY console console
RUN npm run build && npm prune --omit=dev --ignore-scripts && rm node_modules/propetl-console
# onnxruntime-node contains the binaries of all platforms; the image needs one.
RUN cd node_modules/onnxruntime-node/bin/napi-v6 && \
    arch="$(node -p process.arch)" && find . -mindepth 2 -maxdepth 2 -not -path "./linux/$arch" -exec rm -rf {} +

# onnxruntime's CUDA library is too large for the npm registry. The Python package of the same version contains it.
FROM python:3.13-slim-bookworm AS cuda-library
WORKDIR /wheel
COPY --from=build /app/node_modules/onnxruntime-node/package.json ./
RUN version="$(python -c 'import json; print(json.load(open("package.json"))["version"])')" && \
    pip download --no-cache-dir --no-deps --only-binary=:all: "onnxruntime-gpu==$version" && \
    python -m zipfile -e ./*.whl .

FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04 AS cuda
COPY --from=node:22-bookworm-slim /usr/local/bin/node /usr/local/bin/node
# An init forwards signals, and lets the server, which is then not process 1, kill itself if a shutdown hangs.
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
RUN userdel --remove ubuntu && groupadd --gid 1000 node && useradd --uid 1000 --gid node --create-home node && \
    install -d -o node -g node /data
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=cuda-library \
    /wheel/onnxruntime/capi/libonnxruntime_providers_cuda.so /wheel/onnxruntime/capi/libonnxruntime_providers_shared.so \
    node_modules/onnxruntime-node/bin/napi-v6/linux/x64/
COPY --from=build /app/dist dist
COPY models models
COPY masks masks
# With this, glibc returns the memory of an engine that ended to the system.
ENV NODE_ENV=production MALLOC_TRIM_THRESHOLD_=1048576 PROPETL_HOST=0.0.0.0 PROPETL_DATA_DIR=/data PROPETL_PROVIDER=cuda
USER node
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["node", "dist/health.js"]
ENTRYPOINT ["tini", "-s", "--", "node", "dist/cli.js"]
CMD ["serve"]

FROM node:22-bookworm-slim AS cpu
# An init forwards signals, and lets the server, which is then not process 1, kill itself if a shutdown hangs.
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
RUN install -d -o node -g node /data
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY models models
COPY masks masks
# With this, glibc returns the memory of an engine that ended to the system.
ENV NODE_ENV=production MALLOC_TRIM_THRESHOLD_=1048576 PROPETL_HOST=0.0.0.0 PROPETL_DATA_DIR=/data PROPETL_PROVIDER=cpu
USER node
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["node", "dist/health.js"]
ENTRYPOINT ["tini", "-s", "--", "node", "dist/cli.js"]
CMD ["serve"]
