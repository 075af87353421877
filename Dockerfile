# bids_app: docker build -t bids_app .
#
#   --build-arg TORCH_INDEX_URL=https://pypi.org/simple    torch with CUDA (by default: for CPUs only)
#   --build-arg EXTRAS=exports,openvino                   optional parts of pyproject.toml, which the image of 2.5 GB has no room for
#   --build-arg SPACES="MNI152NLin2009cSym"                templates of TemplateFlow beside the default one, which ships
#   --build-arg ACCEPT_HD_BET_LICENSE=1                    HD-BET's weights (reported as CC BY-NC 4.0: not for commercial use)
#
# All versions are those of requirements.txt. docs/containers.md says how to run it.

FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX_URL
ARG EXTRAS
COPY pyproject.toml requirements.txt singularity/install.sh /src/
RUN bash /src/install.sh libraries /src
ARG SPACES
ARG ACCEPT_HD_BET_LICENSE
COPY . /src
RUN bash /src/install.sh app /src

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bids_app" \
      org.opencontainers.image.description="Anonymised, spatially standardised derivatives from any BIDS dataset of brain MRI" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm"
COPY --from=build /opt/bids_app /opt/bids_app
COPY --from=build /version /version
# The usual mount points, for engines that cannot make them in a root that is read-only
RUN test "$(cat /version)" = "$VERSION" && mkdir -p /data /out /work && chmod 1777 /out /work
# Nothing is needed under $HOME, which is another one for each user; a user's own Python packages are not seen
ENV PATH=/opt/bids_app/bin:$PATH \
    BIDS_APP_HOME=/opt/bids_app/home \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["/opt/bids_app/bin/bids_app"]
