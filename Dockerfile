# syntax=docker/dockerfile:1

# Same Debian in both stages: the binary links the C library it was built against.
FROM rust:1.95-slim-bookworm AS build
# The slim image has gcc. jemalloc's build also runs make; AWS-LC is compiled by the cc crate with
# bindings that come ready-made, so there is no CMake, Go, Perl or libclang.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# --locked: what was reviewed is what is built.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin portcullis \
    && cp target/release/portcullis /portcullis

# glibc, libgcc and nothing to run: no shell, no package manager. A static musl binary on `scratch` would be
# smaller by the size of glibc, but jemalloc and AWS-LC are built and tested far less on musl.
# Releases pin both images by digest.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chmod=0555 /portcullis /usr/local/bin/portcullis
# Mount the configuration and what it names here, read-only and readable by user 65532:
#   docker run --read-only --cap-drop=ALL --security-opt=no-new-privileges \
#     -v "$PWD/config:/etc/portcullis:ro" -p 8443:8443 portcullis
USER nonroot:nonroot
EXPOSE 8443
# No HEALTHCHECK: it would need a shell, curl, or a probe in the binary. Ask /ready on the admin listener
# from outside (an orchestrator's HTTP probe), on an address it can reach.
ENTRYPOINT ["/usr/local/bin/portcullis"]
CMD ["run", "--config", "/etc/portcullis/portcullis.toml"]
