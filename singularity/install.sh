#!/usr/bin/env bash
# Install bids_app with everything that it needs into /opt/bids_app. The Dockerfile and bids_app.def both run this in their
# build, so that both images hold the same.
#   install.sh libraries SOURCES     what it needs: pyproject.toml and requirements.txt are read
#   install.sh app SOURCES           itself, and its templates and weights
# Environment:
#   TORCH_INDEX_URL         where torch comes from; PyTorch's index of builds for CPUs by default (PyPI's own brings CUDA)
#   EXTRAS                  optional parts of pyproject.toml, separated by commas: exports, openvino, parquet
#   SPACES                  templates of TemplateFlow to fetch, such as "MNI152NLin2009cSym"
#   ACCEPT_HD_BET_LICENSE   1: fetch HD-BET's weights, whose licence is shown
set -euo pipefail
sources=$2
target=/opt/bids_app
: "${TORCH_INDEX_URL:=https://download.pytorch.org/whl/cpu}"
umask 022 # whoever runs the image can read it
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export PIP_CONSTRAINT=$sources/requirements.txt # holds for what builds packages, too
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

pip() { python3 -m pip --python "$target/bin/python" "$@"; } # none is left in the image
installed() { # name==version of each package, also of argparse, which `pip list` takes for Python's own
  "$target/bin/python" -c 'from importlib.metadata import distributions as all
for each in all(): print(each.metadata["Name"] + "==" + each.version)'
}
# Nobody may write to the image later, so modules are compiled now. Their compiled forms carry no time, so that two builds
# are the same. Some libraries bring templates of code, which do not compile.
compile() { "$target/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$@" > /dev/null 2>&1 || true; }

libraries() {
  python3 -m venv --without-pip "$target"
  pip install --no-compile --no-deps --index-url "$TORCH_INDEX_URL" "$(grep '^torch==' "$sources/requirements.txt")"
  mkdir "$scratch/bids_app" # the requirements of a package without content
  cp "$sources/pyproject.toml" "$scratch"
  touch "$scratch/bids_app/__init__.py" "$scratch/README.md" "$scratch/LICENSE"
  pip install --no-compile "$scratch${EXTRAS:+[$EXTRAS]}"
  pip uninstall --quiet --yes bids_app
  # A package that the lock does not have would be another one in a year. (CUDA's libraries: torch pins them itself.)
  installed | grep -vE '^(nvidia-|cuda-|triton)' | sed 's/+[a-z0-9]*$//' | tr 'A-Z_.' 'a-z--' | sort > "$scratch/are"
  tr 'A-Z_.' 'a-z--' < "$sources/requirements.txt" | sort > "$scratch/locked"
  if comm -23 "$scratch/are" "$scratch/locked" | grep .; then
    echo "install.sh: these are not in requirements.txt" >&2
    exit 1
  fi
  # Tests of libraries are never run here. (torch, numpy and networkx import some of theirs.)
  find "$target/lib" -type d -name tests \
    -not -path '*/torch/*' -not -path '*/numpy/*' -not -path '*/networkx/*' -prune -exec rm -rf {} +
  compile "$target/lib"
}

app() {
  cp -r "$sources/bids_app" "$sources/pyproject.toml" "$sources/README.md" "$sources/LICENSE" "$scratch"
  pip install --no-compile --no-deps "$scratch"
  compile "$target"/lib/python3*/site-packages/bids_app
  # The template of the default space comes with nilearn: `fetch` finds it there, or the build ends here.
  export BIDS_APP_HOME=$target/home PYTHONDONTWRITEBYTECODE=1
  mkdir -p "$BIDS_APP_HOME"
  for space in MNI152NLin2009aSym ${SPACES:-}; do "$target/bin/bids_app" fetch "$space"; done
  if [ "${ACCEPT_HD_BET_LICENSE:-0}" = 1 ]; then "$target/bin/bids_app" fetch hd-bet --accept-license; fi
  "$target/bin/bids_app" --version | sed 's/.* //' > /version
  chmod -R a+rX "$target"
}

"$1"
