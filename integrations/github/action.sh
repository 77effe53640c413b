#!/usr/bin/env bash
# The steps of action.yml: action.sh {inputs|install|validate|plan|apply}
#
# Inputs arrive only in the environment, so none of them is interpreted as a script. What the provisioner prints may
# quote a file of a pull request, and the runner executes workflow commands (`::name::`) in any output: `quoted` turns
# them off while the provisioner runs. $WORK is the directory that `inputs` creates.
set -euo pipefail

fail() {
    local status=$1
    shift
    printf '::error::%s\n' "$*"
    exit "$status"
}

output() { printf '%s=%s\n' "$1" "$2" >>"$GITHUB_OUTPUT"; }

# read_lines PREFIX: adds each line of standard input to `words`, without indentation, trailing blanks and CR.
read_lines() {
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        line=${line#"${line%%[![:space:]]*}"}
        line=${line%"${line##*[![:space:]]}"}
        [[ -z $line ]] || words+=("$1$line")
    done
}

# The command line of all verbs: options, `--`, files. A file with the name of an option is still a file.
inputs() {
    local words=() work
    case $VERB in
        validate | plan | apply) ;;
        *) fail 64 "the input 'verb' must be validate, plan or apply" ;;
    esac
    [[ -z $HOSTS || $VERB != apply ]] || fail 64 "the input 'hosts' is for validate and plan"
    [[ -z $HOSTS ]] || words+=("--hosts=$HOSTS")
    work=$(mktemp -d "$RUNNER_TEMP/provisioner.XXXXXXXX")
    read_lines --overlay= <<<"$OVERLAYS"
    read_lines '' <<<"$OPTIONS"
    words+=(--)
    read_lines '' <<<"$FILES"
    printf '%s\0' "${words[@]}" >"$work/words"
    output work "$work"
}

install() {
    python3 -m venv "$WORK/venv"
    "$WORK/venv/bin/pip" install --quiet --disable-pip-version-check -- "${SOURCE:-$GITHUB_ACTION_PATH}"
}

# quoted WORD...: runs the provisioner; its standard output goes to fd 3, its messages to the log.
quoted() {
    local end status=0
    end=$(</proc/sys/kernel/random/uuid)
    printf '::stop-commands::%s\n' "$end"
    # One stream: the runner reads the two streams of a step independently.
    { "${EXECUTABLE:-$WORK/venv/bin/provisioner}" "$@" >&3; } 2>&1 || status=$?
    printf '\n::%s::\n' "$end"
    output exitcode "$status"
    return "$status"
}

validate() {
    local status=0
    quoted validate --format github "${words[@]}" 3>"$WORK/annotations" || status=$?
    # Annotations are workflow commands whose text the provisioner has escaped.
    grep -E '^::error[ :]' "$WORK/annotations" || true
    exit "$status"
}

# publish FILE: the plan as the summary of the job and as an output.
publish() {
    local end
    cat "$1" >>"$GITHUB_STEP_SUMMARY"
    output file "$1"
    end=$(</proc/sys/kernel/random/uuid)
    { printf 'plan<<%s\n' "$end"; cat "$1"; printf '\n%s\n' "$end"; } >>"$GITHUB_OUTPUT"
}

plan() {
    local status=0 file=$WORK/plan.md compared=()
    if [[ $VERB == apply ]]; then
        compared=("--out=$WORK/saved.plan")
    elif [[ -n $AGAINST || -z $HOSTS ]]; then
        compared=("--against=${AGAINST:-empty}")
    fi
    quoted plan --format markdown "${compared[@]}" "${words[@]}" 3>"$file" || status=$?
    if [[ -n $HOSTS && $status == 1 && -s $file ]]; then # the comment names the hosts whose spec is invalid
        publish "$file"
        output changes true
        fail 1 "the spec is invalid on some hosts: the summary names them"
    fi
    case $status in
        0) output changes false ;;
        2 | 4) output changes true ;;
        *) fail "$status" "plan failed with exit status $status: see the log of this step" ;;
    esac
    publish "$file"
    [[ $status != 4 ]] || fail 4 "a rule refuses this plan: the summary names the rule and its override"
}

apply() {
    local status=0
    quoted apply --yes --plan="$WORK/saved.plan" "${words[@]}" 3>&1 || status=$?
    [[ $status == 0 ]] || fail "$status" "apply failed with exit status $status: the log of this step says what is live"
}

step=${1:?usage: action.sh STEP}
case $step in
    inputs | install) ;;
    validate | plan | apply) mapfile -d '' -t words <"$WORK/words" ;;
    *) fail 64 "unknown step '$step'" ;;
esac
"$step"
