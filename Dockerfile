# docker build -t twelvelead .        needs no GPU; docs/docker.md has the docker run lines and what came out
#
# Any image with Python 3.10 to 3.13 and pip as `python` can be the base: --build-arg BASE_IMAGE=…
ARG BASE_IMAGE=python:3.11.9-slim-bookworm
FROM ${BASE_IMAGE}

# torch's packages bring CUDA with them, so the base needs none; the first two variables let the host's driver in.
# matplotlib keeps a list of fonts, which may lie anywhere but in the home of a read-only container.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib

# Packages before code, so that a change of the code installs nothing again.
COPY requirements.txt /tmp/requirements.txt
RUN python -m pip install --no-cache-dir -r /tmp/requirements.txt

# The command `twelvelead`, for any folder in the container. It needs the files below, nothing to be installed.
RUN printf '#!/bin/sh\nPYTHONPATH=/physionet${PYTHONPATH:+:$PYTHONPATH} exec python -m twelvelead "$@"\n' \
        > /usr/local/bin/twelvelead && chmod +x /usr/local/bin/twelvelead

# The organizers' three lines, as they stand.
RUN mkdir /physionet
COPY ./ /physionet
WORKDIR /physionet
