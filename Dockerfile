# litgpt for CPUs, without models: Debian's slim image and 26 MB of program.
#
#   docker build -t litgpt .
#   docker run --rm -p 8000:8000 -v "$PWD/demo/model:/models/demo:ro" litgpt serve /models/demo --host 0.0.0.0
#
# The instructions that GGML is compiled for are those of ARCH, not of the machine that builds: x86-64-v3 is AVX2 (since
# 2013), x86-64-v4 AVX-512. On other machines: --build-arg ARCH=-mcpu=native, or none.
FROM golang:1.26-bookworm AS build
ARG ARCH=-march=x86-64-v3
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build ARCH="$ARCH" && strip bin/litgpt

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl libstdc++6 \
	&& rm -rf /var/lib/apt/lists/* \
	&& useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin litgpt \
	&& install -d -o litgpt /models
COPY --from=build /src/bin/litgpt /usr/local/bin/litgpt
USER 10001:10001
WORKDIR /models
# Nothing is written but below /tmp: the image runs with a read-only root.
ENV HOME=/tmp
EXPOSE 8000
# Docker's own; Kubernetes has its probes (deploy/kubernetes). Loading a large model takes minutes.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10m --retries=3 CMD ["curl", "-fsS", "http://127.0.0.1:8000/health"]
# SIGTERM drains: see --pre_drain and --grace.
STOPSIGNAL SIGTERM
ENTRYPOINT ["litgpt"]
CMD ["serve", "--help"]
