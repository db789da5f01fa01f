# ---- build: RocksDB is compiled here, 15 to 25 minutes on 2 cores ----
FROM rust:1.95-bookworm AS build

RUN apt-get update \
    && apt-get install -y --no-install-recommends libclang-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src

# The dependencies in a layer of their own, so that a change in src/ does not compile RocksDB again.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked \
    && rm -r src

COPY README.md ./
COPY config config
COPY src src
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked

# ---- runtime ----
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /var/lib/oncegate oncegate \
    && install -d -o oncegate -g oncegate -m 0750 /var/lib/oncegate

COPY --from=build /src/target/release/oncegate /usr/local/bin/oncegate

# Nothing outside answers on loopback inside a container.
ENV ONCEGATE__HTTP__LISTEN=0.0.0.0:8687 \
    ONCEGATE__TABLE__PATH=/var/lib/oncegate/keys

USER 10001:10001
WORKDIR /var/lib/oncegate
# The key table. Lost, it is built again from the ledger; kept, a restart is quick.
VOLUME /var/lib/oncegate
EXPOSE 8687

# 200 on /healthz; bash speaks HTTP well enough for that.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8687 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && IFS= read -r line <&3 && [[ $line == *' 200 '* ]]"]

ENTRYPOINT ["oncegate"]
CMD ["run"]
