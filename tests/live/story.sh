# Runs as root on a machine of its own. Each recipe that worked ends in a line "ok NAME".
set -uo pipefail
export PATH=/opt/coldroot/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 COLDROOT_HOME=/etc/coldroot

say() { echo "-- $*"; }
ok() { echo "ok $1"; }
# Try something until it works, for at most so many seconds.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { echo "not within the time: $*"; return 1; }
        sleep 0.3
    done
}
serial() { openssl x509 -noout -serial -in "$1"; }
other() { [[ $(serial "$1") != "$2" ]]; }
# A pair of NAME whose certificate is due: most of its life is over.
due() {
    mkdir -p /etc/step/certs
    online certificate "$1.local" "/etc/step/certs/$1.crt" "/etc/step/certs/$1.key" --force \
        --provisioner-password-file /etc/coldroot/secrets/provisioner_password.txt \
        --not-before=-23h --not-after=24h
}
matches() { cmp <(openssl x509 -noout -pubkey -in "$1.crt") <(openssl pkey -pubout -in "$1.key"); }

useradd --system --home-dir /etc/coldroot --shell /usr/sbin/nologin step
chown -R step: /etc/coldroot && chown root: /etc/coldroot/secrets/intermediate_password.txt
cd /

say "the node, as a service"
online systemd server --install --user step --home /etc/coldroot --workers 2 \
    --password-file /etc/coldroot/secrets/intermediate_password.txt
mkdir -p /etc/systemd/system/coldroot.service.d
printf '[Service]\nWatchdogSec=3\nRestartSec=1\n' >/etc/systemd/system/coldroot.service.d/override.conf
systemctl daemon-reload
if systemctl start coldroot && online health; then ok node; else journalctl -u coldroot --no-pager | tail -20; fi

say "a reload"
pid=$(systemctl show -P MainPID coldroot)
if systemctl reload coldroot && within 20 sh -c 'journalctl -u coldroot --no-pager | grep -q "configuration reloaded"' &&
    [[ $(systemctl show -P MainPID coldroot) == "$pid" ]] && online health; then
    ok reload
fi

say "the watchdog"
kill -STOP "$pid"
if within 30 sh -c "[ \"\$(systemctl show -P MainPID coldroot)\" != $pid ] && systemctl is-active coldroot" &&
    within 10 online health; then
    ok watchdog
fi

say "the user of a certificate"
printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecReload=/bin/sh -c "echo x >>/run/reloads-%%n"\n[Install]\nWantedBy=multi-user.target\n' \
    >/etc/systemd/system/web.service
online systemd renewer --install --home /etc/coldroot --certs /etc/step/certs
systemctl daemon-reload
systemctl enable --now web.service

say "one run"
due web
before=$(serial /etc/step/certs/web.crt)
if systemctl start cert-renewer@web.service && other /etc/step/certs/web.crt "$before" && matches /etc/step/certs/web &&
    [[ $(cat /run/reloads-web.service) == x ]]; then
    ok one-run
else
    journalctl -u 'cert-renewer@web' --no-pager | tail -20
fi

say "one run that is not due"
before=$(serial /etc/step/certs/web.crt)
if systemctl start cert-renewer@web.service && ! other /etc/step/certs/web.crt "$before" &&
    [[ $(systemctl show -P ConditionResult cert-renewer@web) == no ]] && ! systemctl --quiet is-failed cert-renewer@web &&
    [[ $(cat /run/reloads-web.service) == x ]]; then
    ok not-due
else
    systemctl show -p Result,ExecMainStatus,ConditionResult,ActiveState cert-renewer@web
    journalctl -u 'cert-renewer@web' --no-pager | tail -5
fi

say "one run without a certificate"
if ! systemctl start cert-renewer@absent.service && systemctl --quiet is-failed cert-renewer@absent; then ok absent; fi

say "an override, as on the page"
due grafana
mkdir -p /etc/grafana /etc/systemd/system/cert-renewer@grafana-server.service.d
mv /etc/step/certs/grafana.crt /etc/step/certs/grafana.key /etc/grafana
cat >/etc/systemd/system/cert-renewer@grafana-server.service.d/overrides.conf <<'UNIT'
[Service]
Environment=CERT_LOCATION=/etc/grafana/grafana.crt KEY_LOCATION=/etc/grafana/grafana.key
; Alert a health check service that our certificate has successfully been renewed.
ExecStartPost=touch /run/pinged
UNIT
systemctl daemon-reload
before=$(serial /etc/grafana/grafana.crt)
if systemctl start cert-renewer@grafana-server.service && other /etc/grafana/grafana.crt "$before" && [[ -e /run/pinged ]]; then
    ok override
fi

say "the timer"
due web
before=$(serial /etc/step/certs/web.crt)
mkdir -p /etc/systemd/system/cert-renewer@web.timer.d
printf '[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nRandomizedDelaySec=0\n' >/etc/systemd/system/cert-renewer@web.timer.d/fast.conf
systemctl daemon-reload
if systemctl enable --now cert-renewer@web.timer && within 20 other /etc/step/certs/web.crt "$before"; then ok timer; fi
systemctl list-timers --no-pager | grep cert-renewer@web
systemctl disable --now cert-renewer@web.timer

say "the daemon"
due web
before=$(serial /etc/step/certs/web.crt)
reloads=$(wc -l </run/reloads-web.service)
if systemctl enable --now cert-renewer-daemon@web.service && within 20 other /etc/step/certs/web.crt "$before" &&
    within 10 sh -c "[ \$(wc -l </run/reloads-web.service) -gt $reloads ]"; then
    ok daemon
fi
before=$(serial /etc/step/certs/web.crt)
if systemctl reload cert-renewer-daemon@web && within 20 other /etc/step/certs/web.crt "$before" && matches /etc/step/certs/web; then
    ok daemon-now
fi
systemctl status --no-pager cert-renewer-daemon@web | grep Status
pid=$(systemctl show -P MainPID cert-renewer-daemon@web)
systemctl stop cert-renewer-daemon@web
if [[ $(systemctl show -P Result cert-renewer-daemon@web) == success ]]; then ok daemon-stop; fi

if command -v cron >/dev/null; then
    say "cron"
    due job
    chown step: /etc/step/certs /etc/step/certs/job.*
    before=$(serial /etc/step/certs/job.crt)
    online systemd renewer --cron --install --user step --home /etc/coldroot --cert /etc/step/certs/job.crt --key /etc/step/certs/job.key
    sed -i 's,^\*/5 ,* ,' /etc/cron.d/coldroot-renew
    systemctl start cron
    if within 75 other /etc/step/certs/job.crt "$before" && matches /etc/step/certs/job; then ok cron; fi
else
    echo "absent cron"
fi
say "stopping"
if systemctl stop coldroot && [[ $(systemctl show -P Result coldroot) == success ]]; then ok stop; fi
echo "the end"
