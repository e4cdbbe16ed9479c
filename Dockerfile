# One program and its certificates. Build: docker build -t streamgauge .
FROM rust:1.95-bookworm AS build
# librdkafka is built with cmake, OpenSSL with perl and make.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake make perl \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# First only the dependencies, with empty sources: a layer that stays until Cargo.toml or Cargo.lock change.
# cargo wants a file for every [[bench]], [[test]] and [[example]] that is listed.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && awk '/^\[\[(bench|test|example)\]\]/ { kind = substr($0, 3, length($0) - 4) (/example/ || /test/ ? "s" : "es") } \
            /^\[/ && !/^\[\[(bench|test|example)\]\]/ { kind = "" } \
            /^name *=/ && kind { gsub(/"/, "", $3); print kind "/" $3 ".rs" }' Cargo.toml \
       | while read -r file; do mkdir -p "${file%/*}" && echo 'fn main() {}' > "$file"; done \
    && cargo build --release --locked --bin streamgauge

# Empty ones that the real ones would not replace, as of a bench that is a folder.
RUN rm -rf benches examples src tests
COPY . .
# The sources are older than what was just built from the empty ones; cargo goes by age.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin streamgauge

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/streamgauge /usr/local/bin/streamgauge
COPY LICENSE /usr/share/doc/streamgauge/LICENSE
# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
# Health, metrics and the API.
EXPOSE 8686
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["streamgauge", "health"]
ENTRYPOINT ["streamgauge"]
