#!/usr/bin/env bash
# ./spark-submit.sh                            the main job: preprocess, then tune, with defaults
# ./spark-submit.sh tests [pytest's options]   the tests; --all adds the slow ones
# ./spark-submit.sh [Spark's options] JOB.py [the job's options]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "error: $1" >&2; exit 2; }

# The environment that is active, or else .venv here, with the project installed in it.
environment() {
    local extra=${1:-} prefix=${VIRTUAL_ENV:-${CONDA_PREFIX:-$here/.venv}} stamp state
    stamp=$prefix/.spark-cnn-search
    state=$(cat "$here/pyproject.toml" "$here/constraints.txt" | cksum; echo "$here")
    export PATH=$prefix/bin:$PATH
    installed "$stamp${extra:+-$extra}" "$state" || install
}

installed() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

# One installation at a time where there is flock (macOS has none): two of pip's spoil each other.
install() (
    mkdir -p "$prefix"
    exec 9>"$stamp.lock"
    ! command -v flock >/dev/null || flock 9
    if installed "$stamp${extra:+-$extra}" "$state"; then return; fi
    if [ "$prefix" = "$here/.venv" ] && ! "$prefix/bin/python" -m pip --version >/dev/null 2>&1; then
        base=$(base_python)
        "$base" -m venv "$prefix"
    fi
    echo "installing into $prefix" >&2
    python -m pip install --quiet --disable-pip-version-check \
        --constraint "$here/constraints.txt" --editable "$here${extra:+[$extra]}"
    echo "$state" >"$stamp"
    echo "$state" >"$stamp${extra:+-$extra}"
)

base_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python must be 3.11 to 3.13, but none was found; install one or set PYTHON"
}

java_17() {
    local java=${JAVA_HOME:+$JAVA_HOME/bin/}java version hint
    hint="install OpenJDK 17 or newer (such as Debian's openjdk-17-jre-headless) or set JAVA_HOME"
    version=$("$java" -version 2>&1) || fail "Java must be 17 or newer, but there is none; $hint"
    version=$(sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' <<<"$version" | head -n 1)
    [ "${version:-0}" -ge 17 ] || fail "Java must be 17 or newer, but $java is ${version:-of no version}; $hint"
}

# run [Spark's options] JOB.py [the job's options], in place of this shell: signals and the exit
# code are the job's own.
run() {
    local spark=(--conf spark.ui.showConsoleProgress=false) master="" properties="" mode=client
    while [ $# -gt 0 ] && [[ $1 != *.py ]]; do
        case $1 in
            --master | --deploy-mode | --properties-file | --conf | -c) [ $# -gt 1 ] || fail "$1 must have a value" ;;
        esac
        case $1 in
            --master) master=$2 ;;
            --master=*) master=${1#*=} ;;
            --deploy-mode) mode=$2 ;;
            --deploy-mode=*) mode=${1#*=} ;;
            --properties-file | --properties-file=*) properties=yes ;;
            --conf | -c) [[ $2 != spark.master=* ]] || master=${2#*=} ;;
            --conf=spark.master=*) master=${1#--conf=spark.master=} ;;
        esac
        # Both words of an option at once: a value may end in .py, as in --py-files a.py.
        if [[ $1 == -* && $1 != *=* && $# -gt 1 && $2 != -* && ! ($2 == *.py && -f $2 && $1 != --py-files) ]]; then
            spark+=("$1" "$2")
            shift 2
        else
            spark+=("$1")
            shift
        fi
    done
    [ $# -gt 0 ] || fail "a job must be named, such as jobs/tune.py"
    [ -f "$1" ] || fail "a job must be a file, but there is no $1"
    java_17
    local defaults=${SPARK_CONF_DIR:-${SPARK_HOME:+$SPARK_HOME/conf}}/spark-defaults.conf
    if [ -z "$master$properties" ] && ! grep -qs '^[[:space:]]*spark\.master[[:space:]=]' "$defaults"; then
        master='local[*]'
        spark+=(--properties-file "$here/conf/local.conf" --load-spark-defaults)
    fi
    if [ -z "${SPARK_CONF_DIR:-}${SPARK_HOME:-}" ]; then
        export SPARK_CONF_DIR=$here/conf   # for its log4j2.properties
    fi
    if [[ $master == local* ]]; then
        export SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}
    fi
    if [ "$mode" = cluster ]; then
        exec spark-submit "${spark[@]}" "$@"
    else
        # Under spark-submit a job sees no terminal and Ctrl-C kills the JVM first: start the job
        # itself, which starts Spark with these options.
        export PYSPARK_SUBMIT_ARGS
        PYSPARK_SUBMIT_ARGS=$(printf '%q ' ${spark[@]+"${spark[@]}"} pyspark-shell)
        exec python "$@"
    fi
}

case ${1:-} in
    tests)
        shift
        environment dev
        java_17
        cd "$here"
        exec python -m pytest "$@"
        ;;
    "")
        environment
        [ -f data/manifest.json ] || (run "$here/jobs/preprocess.py")
        run "$here/jobs/tune.py"
        ;;
    *)
        environment
        run "$@"
        ;;
esac
