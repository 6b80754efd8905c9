/* confine.c - see confine.h. */
#include "engine/confine.h"

#include "engine/base/log.h"

#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(capability) (UINT64_C(1) << (capability))
/* Files and sockets of other users, ports below 1024, memory that io_uring locks. */
#define KEPT                                                                                                 \
    (BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) | BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_IPC_LOCK))

static bool drop_capabilities(struct err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    bool any = false;
    if (syscall(SYS_capget, &header, data) != 0)
        return err_set(err, errno, "cannot read the daemon's capabilities: %s", strerror(errno));
    for (unsigned n = 0; n < 2; n++) {
        uint32_t kept = (uint32_t)(KEPT >> 32 * n);
        any |= (data[n].permitted & ~kept) != 0 || data[n].inheritable != 0;
        data[n].effective &= kept;
        data[n].permitted &= kept;
        data[n].inheritable = 0;
    }
    /* The bounding set is what a program could get that is started: none is. Who started us with nothing to
     * drop may well refuse the call too, as the systemd unit does. */
    if (any && syscall(SYS_capset, &header, data) != 0)
        return err_set(err, errno, "cannot drop the daemon's capabilities: %s", strerror(errno));
    return true;
}

/* Sanitizers look into the process from another at its end. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static bool filter_calls(struct err *err)
{
    (void)err;
    return true;
}
#else
/* What no part of the daemon, nor of the libraries that it uses, has to do with. */
static const int refused[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(setuid),
    SCMP_SYS(setgid),
    SCMP_SYS(setreuid),
    SCMP_SYS(setregid),
    SCMP_SYS(setresuid),
    SCMP_SYS(setresgid),
    SCMP_SYS(setgroups),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(reboot),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
};

static bool filter_calls(struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int rc = filter == NULL ? -ENOMEM : 0;
    if (rc == 0) /* no slower memory for it on older kernels, where it can be said */
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    for (size_t n = 0; n < sizeof refused / sizeof *refused && rc == 0; n++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[n], 0);
    if (rc == 0 && (rc = seccomp_load(filter)) == -ENOSYS) {
        log_warn("this kernel has no seccomp: the daemon runs without a filter of system calls");
        rc = 0;
    }
    if (filter != NULL)
        seccomp_release(filter);
    return rc == 0 ||
           err_set(err, -rc, "cannot refuse system calls to the daemon (seccomp): %s", strerror(-rc));
}
#endif

bool confine(struct err *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_set(err, errno, "cannot give up new privileges: %s", strerror(errno));
    return drop_capabilities(err) && filter_calls(err);
}
