# Completion for bash: mayfly, mayflyd, mayfly-snapshot, mayfly-bench.
#
# Nothing is listed here: mayfly is asked itself what may stand at the end of the line, keys of the
# cluster too, and the others are asked for their help.

# The choices, one a line, on standard input; $1 is the word as it was typed. Bash takes a colon and
# an equals sign for the end of a word, so what stands before the last of them is left out.
_mayfly_reply() {
    local typed=$1 current=${COMP_WORDS[COMP_CWORD]} choice
    case $current in ':' | '=') current= ;; esac
    local skip=$((${#typed} - ${#current}))
    [ "$skip" -ge 0 ] || skip=0
    COMPREPLY=()
    while IFS= read -r choice; do
        [[ $choice == */ || $choice == *= ]] && compopt -o nospace 2>/dev/null
        choice=${choice:skip}
        case $current in \'* | \"*) ;; *) [ -z "$choice" ] || printf -v choice %q "$choice" ;; esac
        COMPREPLY+=("$choice")
    done
}

# Flags in the help of a program.
_mayfly_flags_of() {
    _mayfly_from_help < <("$@" --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[A-Za-z][a-z-]*' |
        tr -d ' ,' | sort -u)
}

_mayfly_bench() { _mayfly_flags_of "$1"; }

_mayfly() {
    local typed lines
    lines=$("$1" __complete "${COMP_LINE:0:COMP_POINT}" 2>/dev/null) || {
        _mayfly_flags_of "$1" bench # whose words they are
        return
    }
    IFS= read -r typed <<<"$lines"
    _mayfly_reply "$typed" < <(tail -n +2 <<<"$lines")
}

# Words of a program's help that begin as the last word of the line does.
_mayfly_from_help() {
    local line=${COMP_LINE:0:COMP_POINT}
    local typed=${line##* }
    _mayfly_reply "$typed" < <(grep -F -- "$typed" | while IFS= read -r word; do
        [[ $word == "$typed"* ]] && printf '%s\n' "$word"
    done)
}

_mayflyd() {
    case ${COMP_LINE:0:COMP_POINT} in
    *--config\ *[![:space:]]\ *) ;;
    *--config\ *)
        mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
        return
        ;;
    esac
    _mayfly_from_help < <("$1" --help 2>/dev/null | awk '
        BEGIN { print "--config\n--check-config\n--help\n--version" }
        /^\[/ { section = substr($1, 2, length($1) - 2) }
        /^(# )?[a-z_]+ =/ { sub(/^# /, ""); print "--" section "." $1 "=" }')
}

_mayfly_snapshot() {
    if [[ ${COMP_WORDS[COMP_CWORD]} == -* ]]; then
        _mayfly_from_help < <("$1" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]+' | sort -u)
    elif [ "$COMP_CWORD" -eq 1 ]; then
        _mayfly_from_help < <("$1" --help 2>/dev/null | awk '/^  [a-z]+ / { print $1 }' | sort -u)
    else
        mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
    fi
}

complete -F _mayfly mayfly
complete -F _mayflyd mayflyd
complete -F _mayfly_bench mayfly-bench
complete -F _mayfly_snapshot -o filenames mayfly-snapshot
