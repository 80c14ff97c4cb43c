# Completions of ringx for bash, made by "ringx completions bash".
_ringx() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -*) ;;
            *) command="${command:+$command }${COMP_WORDS[i]}" ;;
        esac
    done
    case "$command" in
        "convert"*)
            case "$prev" in
                --to) mapfile -t COMPREPLY < <(compgen -W "nginx toml" -- "$cur"); return ;;
            esac
            words="--to --help"
            ;;
        "schema"*)
            case "$prev" in
            esac
            words="--help"
            ;;
        "man"*)
            case "$prev" in
            esac
            words="--help"
            ;;
        "completions"*)
            case "$prev" in
            esac
            words="bash zsh fish --help"
            ;;
        "demo"*)
            case "$prev" in
                --port) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
            esac
            words="--port --help"
            ;;
        "proxy"*)
            case "$prev" in
                --to) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --from) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
            esac
            words="--to --from --print --help"
            ;;
        "top"*)
            case "$prev" in
                --interval) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -c|--conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -p|--prefix) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
            esac
            words="--once --interval --socket -c --conf -p --prefix --help"
            ;;
        "upgrade"*)
            case "$prev" in
                --timeout) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --pid) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -c|--conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -p|--prefix) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
            esac
            words="--timeout --pid --socket -c --conf -p --prefix --help"
            ;;
        "tail"*)
            case "$prev" in
                -n|--lines) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --slow) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --status) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --client) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --host) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --location) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -c|--conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -p|--prefix) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
            esac
            words="-f --follow -n --lines --slow --status --client --host --location --json --socket -c --conf -p --prefix --help"
            ;;
        "set peer"*)
            case "$prev" in
                --socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -c|--conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -p|--prefix) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
            esac
            words="--socket -c --conf -p --prefix --help"
            ;;
        "set"*)
            case "$prev" in
            esac
            words="peer --help"
            ;;
        "show"*)
            case "$prev" in
                --socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -c|--conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -p|--prefix) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
            esac
            words="status peers checks servers sessions cache limits certificates shards config --json --socket -c --conf -p --prefix --help"
            ;;
        "explain"*)
            case "$prev" in
                -X|--method) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -H|--header) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --from) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -c|--conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
            esac
            words="-X --method -H --header --from -c --conf --json --help"
            ;;
        "check"*)
            case "$prev" in
                -c|--conf) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                -p|--prefix) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
                --format) mapfile -t COMPREPLY < <(compgen -W "text json sarif" -- "$cur"); return ;;
                --deny) mapfile -t COMPREPLY < <(compgen -W "cannot-load load-warning deprecated-listen-http2 http-version-2-0 conflicting-server-name old-tls-versions stapling-ignored expired-certificate expiring-certificate certificate-name incomplete-chain readable-key shadowed-add-header shadowed-proxy-set-header shadowed-grpc-set-header shadowed-fastcgi-param header-without-always hide-server-header hsts-without-tls hsts-preload obsolete-header cors-wildcard-credentials cors-any-origin missing-host http-host fixed-upgrade upgrade-with-http-1-0 upgrade-without-connection short-tunnel closed-keepalive replaced-prefix variable-uri decoded-uri decoded-redirect missing-resolver open-proxy unverified-backend backend-without-sni underscored-fields repeated-post trusted-everybody unused-real-ip auth-request-body missing-script-filename inert-cache unused-cache unbuffered-cache cached-cookies cache-key-without-host cache-key-method slice-key loose-alias glued-alias loose-dot unreachable-location stolen-files root-in-location try-files-loop if-with-settings served-dotfiles double-slashes unlimited-body return-before-access return-before-limits no-passwords allow-without-deny unreachable-access-rule open-status unused-limit constant-limit-key optional-limit-key long-queue unreachable-limit missing-default-server dead-wildcard plain-443 unused-upstream repeated-peer lone-peer unused-variable unused-log-format gzip-html-only few-files root-worker debug-log error-log-off no-access-log all" -- "$cur"); return ;;
                --allow) mapfile -t COMPREPLY < <(compgen -W "cannot-load load-warning deprecated-listen-http2 http-version-2-0 conflicting-server-name old-tls-versions stapling-ignored expired-certificate expiring-certificate certificate-name incomplete-chain readable-key shadowed-add-header shadowed-proxy-set-header shadowed-grpc-set-header shadowed-fastcgi-param header-without-always hide-server-header hsts-without-tls hsts-preload obsolete-header cors-wildcard-credentials cors-any-origin missing-host http-host fixed-upgrade upgrade-with-http-1-0 upgrade-without-connection short-tunnel closed-keepalive replaced-prefix variable-uri decoded-uri decoded-redirect missing-resolver open-proxy unverified-backend backend-without-sni underscored-fields repeated-post trusted-everybody unused-real-ip auth-request-body missing-script-filename inert-cache unused-cache unbuffered-cache cached-cookies cache-key-without-host cache-key-method slice-key loose-alias glued-alias loose-dot unreachable-location stolen-files root-in-location try-files-loop if-with-settings served-dotfiles double-slashes unlimited-body return-before-access return-before-limits no-passwords allow-without-deny unreachable-access-rule open-status unused-limit constant-limit-key optional-limit-key long-queue unreachable-limit missing-default-server dead-wildcard plain-443 unused-upstream repeated-peer lone-peer unused-variable unused-log-format gzip-html-only few-files root-worker debug-log error-log-off no-access-log all" -- "$cur"); return ;;
            esac
            words="-c --conf -p --prefix --fix --diff --format --deny --allow --rules --help"
            ;;
        "run"*)
            case "$prev" in
            esac
            words="--help"
            ;;
        *)
            case "$prev" in
                -s) mapfile -t COMPREPLY < <(compgen -W "stop quit reopen reload" -- "$cur"); return ;;
                -c|-e|-p) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
            esac
            words="run check explain show set tail upgrade top proxy demo completions man schema convert -h -v -V -t -T -q -s -p -e -c -g"
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    if [[ $cur != -* && -n $command ]]; then
        local files
        mapfile -t files < <(compgen -f -- "$cur")
        COMPREPLY+=("${files[@]}")
    fi
}
complete -o filenames -F _ringx ringx
