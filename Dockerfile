# syntax=docker/dockerfile:1
# The program alone, in an image that has neither a shell nor root.
#
# distroless has no tags of versions: for a build that can be repeated, give it by its digest,
# --build-arg BASE=gcr.io/distroless/cc-debian12@sha256:…
ARG RUST=rust:1.95.0-slim-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# Cargo.toml names each of them, so that cargo wants to see them all.
COPY benches benches
COPY examples examples
COPY src src
# What was fetched and built stays in caches, and in no layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin voxgate \
    && install -D target/release/voxgate /out/voxgate \
    && install -d -m 0750 /out/keys /out/audit

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Voxgate" \
      org.opencontainers.image.description="The missing door for self-hosted text-to-speech" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /out/voxgate /usr/local/bin/voxgate
# A new volume that is mounted here belongs to whom the directory belongs to.
COPY --from=build --chown=65532:65532 /out/keys /etc/voxgate/keys
COPY --from=build --chown=65532:65532 /out/audit /var/lib/voxgate/audit
# A loopback address would be the container's own.
ENV VOXGATE_LISTEN=0.0.0.0:8080 \
    VOXGATE_ADMIN_LISTEN=0.0.0.0:8081
EXPOSE 8080 8081
USER 65532:65532
# Whoever runs the container asks; with `voxgate probe`, if there is nothing else.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/voxgate"]
CMD ["serve"]
