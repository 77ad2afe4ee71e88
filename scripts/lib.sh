# shellcheck shell=bash
# What the scripts share: messages, and an environment that is complete or remade. Sourced, never run.
#
# Invariants:
#   - no question is ever asked, and nothing outside the checkout changes except Debian packages that are missing;
#     those of database servers are installed only where somebody asks for what needs them;
#   - .venv holds exactly what the lock files say, each file checked by its hash;
#   - a stamp is written after everything else, so an interrupted or broken .venv is never mistaken for a good one;
#   - a second run installs nothing and takes no time.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=${COLDROOT_VENV:-$root/.venv}

# Say something to the person; stdout is left to results.
say() { printf '%s\n' "$*" >&2; }

# Say why it cannot go on, in one line, and stop.
die() {
    say "${0##*/}: $*"
    exit 1
}

# Run a command quietly; when it fails, show the end of what it said and stop.
#   quietly LOG WHAT COMMAND…
quietly() {
    local log=$1 what=$2
    shift 2
    if ! "$@" >>"$log" 2>&1 </dev/null; then
        say "--- the last lines of $log"
        tail -n 20 "$log" >&2
        die "$what failed"
    fi
}

# pip obeys any PIP_… variable. Those that say where packages come from are the machine's business and stay;
# those that change what an installation does (a target, a constraint, a user directory) would break ours.
forget_pip_settings() {
    local name
    while IFS= read -r name; do
        case $name in
        PIP_INDEX_URL | PIP_EXTRA_INDEX_URL | PIP_FIND_LINKS | PIP_NO_INDEX | PIP_TRUSTED_HOST | PIP_CERT) ;;
        PIP_CLIENT_CERT | PIP_PROXY | PIP_TIMEOUT | PIP_DEFAULT_TIMEOUT | PIP_RETRIES) ;;
        PIP_CACHE_DIR | PIP_NO_CACHE_DIR | PIP_CONFIG_FILE | PIP_KEYRING_PROVIDER) ;;
        *) unset "$name" ;;
        esac
    done < <(compgen -e -X '!PIP_*')
}

# Print the path of a Python that is new enough. The distribution's own comes first: its venv package is
# the one that apt can add.
find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        # A launcher may exist without the version behind it, hence the real question.
        if "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            # Started from another environment, the answer must still be the Python below it.
            "$candidate" -I -c 'import os, sys; print(os.path.realpath(sys._base_executable))'
            return
        fi
    done
    die "Python 3.11 or newer is needed and none was found"
}

# Print where the SoftHSM module lies; fail when it is not installed.
find_softhsm() {
    local module
    for module in /usr/lib/softhsm /usr/lib/*/softhsm /usr/lib64/softhsm /usr/lib64/pkcs11 \
        /usr/local/lib/softhsm /opt/homebrew/lib/softhsm; do
        if [[ -f $module/libsofthsm2.so ]]; then
            printf '%s\n' "$module/libsofthsm2.so"
            return
        fi
    done
    return 1
}

# Install Debian packages as root or by sudo without a password; else say in one line what is missing.
install_debian_packages() {
    local -a apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120)
    local log
    if ! command -v apt-get >/dev/null; then
        die "please install: $* (the names of the Debian packages)"
    elif [[ $(id -u) != 0 ]]; then
        if ! sudo -n true 2>/dev/null; then
            die "please run: sudo apt-get install --yes $*"
        fi
        apt=(sudo -n "${apt[@]}")
    fi
    say "installing the Debian packages $* …"
    log=$(mktemp "${TMPDIR:-/tmp}/coldroot-apt.XXXXXX")
    # A package list that is missing or old is the usual reason for a first failure.
    if ! "${apt[@]}" install --yes --no-install-recommends "$@" >"$log" 2>&1 </dev/null; then
        quietly "$log" "apt-get update" "${apt[@]}" update
        quietly "$log" "apt-get install $*" "${apt[@]}" install --yes --no-install-recommends "$@"
    fi
    rm -f "$log"
}

# See that the machine has what PyPI cannot give: venv, SoftHSM and the openssl command; for tests also the programs
# that judge what was made, and those that an operator's own commands call.
#   ensure_machine PYTHON KIND
ensure_machine() {
    local python=$1 kind=$2 version program
    local -A judges=([certtool]=gnutls-bin [curl]=curl [git]=git [jq]=jq)
    local -a missing=()
    if ! "$python" -I -c 'import ensurepip, venv' >/dev/null 2>&1; then
        version=$("$python" -I -c 'import sys; print("{}.{}".format(*sys.version_info))')
        missing+=("python$version-venv")
    fi
    find_softhsm >/dev/null || missing+=(softhsm2)
    command -v openssl >/dev/null || missing+=(openssl)
    if [[ $kind == dev ]]; then
        for program in "${!judges[@]}"; do
            command -v "$program" >/dev/null || missing+=("${judges[$program]}")
        done
    fi
    if ((${#missing[@]})); then
        install_debian_packages "${missing[@]}"
    fi
}

# See that the servers are there that clusters are made of. Only on request: they are large, and installing them starts
# the distribution's own, which nothing here touches.
ensure_databases() {
    local -a missing=()
    local names
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
    names=$(PATH=$PATH:/usr/sbin:/sbin compgen -c)
    grep --quiet --line-regexp mariadbd <<<"$names" || missing+=(mariadb-server)
    compgen -G '/usr/lib*/galera*/libgalera_smm.so' >/dev/null || missing+=(galera-4)
    grep --quiet --line-regexp rsync <<<"$names" || missing+=(rsync)
    grep --quiet --line-regexp haproxy <<<"$names" || missing+=(haproxy)
    compgen -G '/usr/lib/nginx/modules/ngx_stream_module.so' >/dev/null || missing+=(nginx-light libnginx-mod-stream)
    if ((${#missing[@]})); then
        install_debian_packages "${missing[@]}"
    fi
}

# See that PKCS#11 modules of other makers are there, with the daemons that they need. Only on request: the tests start
# daemons of their own, in directories and namespaces of their own.
ensure_hsm_modules() {
    local -a missing=()
    local names
    names=$(PATH=$PATH:/usr/sbin:/sbin compgen -c)
    grep --quiet --line-regexp certutil <<<"$names" || missing+=(libnss3-tools)
    compgen -G '/usr/lib/*/p11-kit-proxy.so' >/dev/null || missing+=(p11-kit p11-kit-modules)
    grep --quiet --line-regexp pkcsslotd <<<"$names" || missing+=(opencryptoki)
    compgen -G '/usr/lib/*/pkcs11/libtpm2_pkcs11.so' >/dev/null || missing+=(libtpm2-pkcs11-1)
    grep --quiet --line-regexp swtpm_setup <<<"$names" || missing+=(swtpm swtpm-tools)
    grep --quiet --line-regexp tpm2-abrmd <<<"$names" || missing+=(tpm2-abrmd)
    compgen -G '/usr/lib/*/libtss2-tcti-tabrmd.so*' >/dev/null || missing+=(libtss2-tcti-tabrmd0)
    compgen -G '/usr/lib/*/libtss2-tcti-swtpm.so*' >/dev/null || missing+=(libtss2-tcti-swtpm0)
    grep --quiet --line-regexp dbus-run-session <<<"$names" || missing+=(dbus)
    if ((${#missing[@]})); then
        install_debian_packages "${missing[@]}"
    fi
}

# Print one digest over all that an environment is made from.
#   digest_of PYTHON FILE…
digest_of() {
    local python=$1
    shift
    {
        printf '%s\n' "$root" "$python"
        "$python" -I -c 'import sys; print(sys.version)'
        cat "$@"
    } | sha256sum | cut -d ' ' -f 1
}

# Say whether a stamp holds this digest.
stamped() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# See that this user can make or change .venv: what another user installed there cannot even be removed.
ensure_ours() {
    local user strange
    user=$(id -un 2>/dev/null || true) # a user without a name has a number
    if ((EUID == 0)); then
        return # root may do anything
    elif [[ ! -e $venv ]]; then
        [[ -w $root ]] || die "$root cannot be written by $user: copy it, or name an environment by COLDROOT_VENV"
    else
        strange=$(find "$venv" ! -uid "$EUID" -print -quit 2>/dev/null || true)
        [[ -z $strange && -w $venv ]] ||
            die "$venv is not $user's to change: run as $(stat -c %U "${strange:-$venv}"), or name another by COLDROOT_VENV"
    fi
}

# Make the environment complete.
#   ensure_environment run    what the demo needs
#   ensure_environment dev    the same and the tools of scripts/check and scripts/test
#
# 1. One at a time: the checkout's directory is the lock.
# 2. Nothing to do when the stamps are those of today's locks; else see first that it may be done.
# 3. An environment without any valid stamp, or whose Python does not run, is remade from nothing.
# 4. Install by the locks, then the project itself; write the stamps last.
ensure_environment() {
    local kind=$1 python run dev project log complete=false started=$SECONDS
    local -a locks files
    if [[ -n ${COLDROOT_VENV:-} ]]; then
        [[ -x $venv/bin/ceremony && -x $venv/bin/online ]] || die "COLDROOT_VENV has no ceremony and online commands"
        find_softhsm >/dev/null || die "SoftHSM is not installed (Debian: softhsm2)"
        return
    fi
    if [[ $kind == run && -f $venv/.dev ]]; then
        kind=dev # an environment for development stays one, also when its lock has changed
    fi
    python=$(find_python)
    exec 9<"$root"
    flock 9 # 1.
    ensure_machine "$python" "$kind"
    run=$(digest_of "$python" "$root"/requirements/{build,online}.txt)
    dev=$(digest_of "$python" "$root"/requirements/dev.txt)
    project=$(digest_of "$python" "$root/pyproject.toml")
    case $kind in
    run) locks=(build online) ;;
    dev) locks=(dev) ;;
    *) die "there is no environment of the kind $kind" ;;
    esac
    # 2. The environment for development holds all that the demo needs.
    if stamped "$venv/.dev" "$dev" || { [[ $kind == run ]] && stamped "$venv/.run" "$run"; }; then
        complete=true
        stamped "$venv/.project" "$project" && exec 9<&- && return
    fi
    ensure_ours
    files=("${locks[@]/#/--requirement=$root/requirements/}")
    files=("${files[@]/%/.txt}")
    forget_pip_settings
    log=$(mktemp "${TMPDIR:-/tmp}/coldroot-install.XXXXXX")

    if ! $complete; then
        # 3.
        if ! stamped "$venv/.run" "$run" || ! "$venv/bin/python" -I -m pip --version >/dev/null 2>&1; then
            rm -rf "$venv"
            say "making .venv with $("$python" -V) from requirements/${locks[*]} …"
            quietly "$log" "python -m venv" "$python" -I -m venv "$venv"
        else
            say "adding requirements/${locks[*]} to .venv …"
        fi
        # 4.
        rm -f "$venv"/.run "$venv"/.dev "$venv"/.project
        quietly "$log" "installing requirements/${locks[*]}" \
            "$venv/bin/python" -I -m pip install --no-input --disable-pip-version-check --only-binary :all: \
            --require-hashes "${files[@]}"
    fi
    if ! stamped "$venv/.project" "$project"; then
        quietly "$log" "installing coldroot" \
            "$venv/bin/python" -I -m pip install --no-input --disable-pip-version-check --no-index \
            --no-deps --no-build-isolation --editable "$root"
        printf '%s\n' "$project" >"$venv/.project"
    fi
    if [[ $kind == run ]] && ! stamped "$venv/.dev" "$dev"; then
        printf '%s\n' "$run" >"$venv/.run"
    elif [[ $kind == dev ]]; then
        printf '%s\n' "$dev" >"$venv/.dev"
    fi
    exec 9<&-
    rm -f "$log"
    if ((SECONDS - started > 3)); then
        say ".venv is ready after $((SECONDS - started)) s"
    fi
}
