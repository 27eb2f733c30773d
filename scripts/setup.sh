# Sourced by ./run and ./check: finds or installs what they need, and says so.
#   need_packages PACKAGE…   Debian packages that are not there are installed, by root or through sudo
#   find_uv                  sets UV; installs it into .tools/ where there is none

say() { printf '%s\n' "vivavoce: $*" >&2; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null 2>&1; then sudo "$@"
  else
    say "this needs root, and there is no sudo; as root, run: $*"
    return 1
  fi
}

need_packages() {
  command -v dpkg-query >/dev/null 2>&1 || { say "not a Debian or Ubuntu machine; install the like of: $*"; return 0; }
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

find_uv() {
  if command -v uv >/dev/null 2>&1; then UV=uv; return; fi
  if [ ! -x .tools/bin/uv ]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || need_packages python3 python3-venv || exit 1
    say "installing uv into .tools/"
    python3 -m venv .tools && .tools/bin/pip install --quiet --disable-pip-version-check uv || {
      say "uv could not be installed; see https://docs.astral.sh/uv/ for other ways"; exit 1; }
  fi
  UV=.tools/bin/uv
}
