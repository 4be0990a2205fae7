# From a fresh clone to a built preset.  Sourced by ./run and ./test, which set root.

run_packages="gcc libc6-dev cmake ninja-build pkg-config lua5.4 liblua5.4-dev
    libedit-dev libssl-dev libc-ares-dev liburing-dev"
test_packages="$run_packages g++ lua-busted lua-check lua-socket lua-lpeg lua-filesystem
    openssl curl nginx redis-server redis-tools socat python3 procps
    libglib2.0-dev"

say() {
    printf 'lull: %s\n' "$*" >&2
}

# need <package>...: installs those that are missing, or says how and exits.  Elsewhere
# than on Debian, or with LULL_SETUP=no, configuring tells what it does not find.
need() {
    [ "${LULL_SETUP-}" != no ] && command -v dpkg-query >/dev/null || return 0
    have=$(dpkg-query -W -f '[${Package} ${db:Status-Status}]' "$@" 2>/dev/null)
    missing=
    for package in "$@"; do
        case $have in
        *"[$package installed]"*) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ "$missing" ] || return 0
    install="install -y --no-install-recommends$missing"

    if [ "$(id -u)" = 0 ]; then
        as_root=env
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n env"
    else
        say "some packages are missing; please install them with"
        echo "    sudo apt-get update && sudo apt-get $install" >&2
        exit 1
    fi
    say "installing$missing"
    apt="$as_root DEBIAN_FRONTEND=noninteractive apt-get -qq"
    apt="$apt -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3"
    for wait in 5 20 no; do # a mirror may be busy, the lists locked by another program
        $apt update </dev/null >&2
        $apt $install </dev/null >&2 && return
        [ $wait != no ] || exit 1
        say "that did not work; once more"
        sleep $wait
    done
}

# build <preset> [target...]: configures the first time, then builds what changed; says
# something only when it fails, or when it will take a while.  One builds at a time.
build() {
    preset=$1
    dir=$root/build/$preset
    shift
    mkdir -p "$dir" || return
    (
        if command -v flock >/dev/null; then flock 9; fi
        cd "$root" || exit
        if ! [ -f "$dir/build.ninja" ] || [ CMakePresets.json -nt "$dir/build.ninja" ]; then
            say "building build/$preset"
            cmake --preset "$preset" >"$dir/build.log" 2>&1 || exit
        fi
        ninja --quiet -C "$dir" "$@" >"$dir/build.log" 2>&1
    ) 9>"$dir/lock" && return
    cat "$dir/build.log" >&2
    say "build/$preset could not be built"
    return 1
}
