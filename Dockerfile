# syntax=docker/dockerfile:1
# Builds an image that contains only the program. It has no shell and does not run as root.
#
# A tag can name another image tomorrow. For a reproducible build, pin both bases by digest, as the release
# workflow does, which records the digests with the release:
#   docker buildx imagetools inspect gcr.io/distroless/cc-debian12:nonroot --format '{{.Manifest.Digest}}'
#   docker build --build-arg BASE=gcr.io/distroless/cc-debian12:nonroot@sha256:… --build-arg RUST=…@sha256:… .
ARG RUST=rust:1.95.0-slim-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# cargo needs every target that Cargo.toml names.
COPY benches benches
COPY constant-time constant-time
COPY crates crates
COPY examples examples
COPY fuzz fuzz
COPY src src
# Downloads and build results stay in caches and do not become part of a layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p voxgate-gateway --features otlp \
    && install -D target/release/voxgate /out/voxgate \
    && install -d -m 0750 /out/keys /out/audit

FROM ${BASE}
ARG VERSION=0.1.0
# The value from above `FROM`.
ARG BASE
LABEL org.opencontainers.image.title="Voxgate" \
      org.opencontainers.image.description="Authenticating gateway for self-hosted text-to-speech" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=build /out/voxgate /usr/local/bin/voxgate
# A new volume that is mounted here gets the owner of the directory.
COPY --from=build --chown=65532:65532 /out/keys /etc/voxgate/keys
COPY --from=build --chown=65532:65532 /out/audit /var/lib/voxgate/audit
# Inside a container, a loopback address cannot be reached from outside.
ENV VOXGATE_LISTEN=0.0.0.0:8080 \
    VOXGATE_ADMIN_LISTEN=0.0.0.0:8081
EXPOSE 8080 8081
USER 65532:65532
# The container platform probes /livez and /readyz. Without one, use `voxgate probe`.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/voxgate"]
CMD ["serve"]
