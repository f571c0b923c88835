#!/usr/bin/env bash
# What it is for: usage(), below.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'END'
usage: ./spark-submit.sh                                          the main job: preprocess, then tune
       ./spark-submit.sh [Spark's options] JOB.py [JOB's options]  such as jobs/tune.py --help
       ./spark-submit.sh [Spark's options] check                  what the machine and Spark have
       ./spark-submit.sh tests [pytest's options]                 the tests; --all adds the slow ones

Jobs: jobs/preprocess.py, jobs/tune.py, jobs/predict.py; --help after one shows its options.
Spark's options are those of spark-submit, such as --master spark://HOST:7077; without a master all
cores of this machine are used. Python's environment is the active one, or .venv, which the first
command makes: about 3 GB.
END
}

fail() { echo "error: $1" >&2; exit 2; }

# The environment that is active, or else .venv here, with the project installed in it.
environment() {
    local extra=${1:-} stamp state name
    prefix=$here/.venv
    for name in CONDA_PREFIX VIRTUAL_ENV; do
        if [ -x "${!name:-}/bin/python" ] && [ -n "${!name:-}" ]; then
            prefix=${!name}
        elif [ -n "${!name:-}" ]; then
            echo "$name is ${!name}, where there is no Python: not used" >&2
        fi
    done
    python=$prefix/bin/python
    stamp=$prefix/.spark-cnn-search
    state=$(cat "$here/pyproject.toml" "$here/constraints.txt" | cksum; echo "$here")
    export PATH=$prefix/bin:${PATH:-/usr/local/bin:/usr/bin:/bin}
    installed "$stamp${extra:+-$extra}" "$state" || install
    [ -x "$python" ] || fail "$python must be a Python that this user can execute, but it is not"
}

installed() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

# One installation at a time where there is flock (macOS has none): two of pip's spoil each other.
install() (
    mkdir -p "$prefix"
    exec 9>"$stamp.lock"
    ! command -v flock >/dev/null || flock 9
    if installed "$stamp${extra:+-$extra}" "$state"; then return; fi
    log=$prefix/install.log
    echo "installing into ${prefix#"$here/"}: TensorFlow, Spark and others, about 3 GB; usually 2" \
        "to 5 minutes; log: ${log#"$here/"}" >&2
    : >"$log"
    if [ "$prefix" = "$here/.venv" ] && ! "$python" -m pip --version >/dev/null 2>&1; then
        base=$(base_python)
        "$base" -m venv "$prefix" >>"$log" 2>&1 || not_installed
    fi
    "$python" -m pip install --disable-pip-version-check --progress-bar off \
        --constraint "$here/constraints.txt" --editable "$here${extra:+[$extra]}" \
        >>"$log" 2>&1 || not_installed
    echo "$state" >"$stamp"
    echo "$state" >"$stamp${extra:+-$extra}"
)

not_installed() {
    tail -n 10 "$log" | sed 's/^/    /' >&2
    echo "error: the installation failed; its last lines are above, the whole is in $log" >&2
    exit 1
}

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
    while [ $# -gt 0 ] && [[ $1 != *.py && $1 != check ]]; do
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
    local word job=("$@")
    if [ "$1" = check ]; then
        job=(-m cnn.check "${@:2}")
    else
        [ -f "$1" ] || fail "a job must be a file, but there is no $1"
    fi
    for word in "$@"; do
        [[ $word != -h && $word != --help ]] || exec "$python" "${job[@]}"
    done
    # The check itself says what Java there is.
    [ "$1" = check ] || java_17
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
        [ "$1" != check ] || fail "check must be in client mode, where its lines are seen"
        "$python" -c 'from cnn.core import cli; from cnn.spark import versions; cli.run_job(lambda _: versions.check_spark())'
        exec "$prefix/bin/spark-submit" "${spark[@]}" "$@"
    else
        # Under spark-submit a job sees no terminal and Ctrl-C kills the JVM first: start the job
        # itself, which starts Spark with these options.
        export PYSPARK_SUBMIT_ARGS
        PYSPARK_SUBMIT_ARGS=$(printf '%q ' ${spark[@]+"${spark[@]}"} pyspark-shell)
        exec "$python" "${job[@]}"
    fi
}

case ${1:-} in
    -h | --help)
        usage
        ;;
    tests)
        shift
        environment dev
        java_17
        cd "$here"
        exec "$python" -m pytest "$@"
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
