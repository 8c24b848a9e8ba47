"""What the test servers need on the machine, and the command that installs what is missing (Debian 12).

PostgreSQL 15 and MariaDB 10.11 are Debian's own packages. MySQL and PostgreSQL 18 are not in Debian 12:
they come from a small Debian sid root, made once in FES_TEST_CACHE (/var/cache/fes-test). Its programs run
by that root's own loader and libraries, as ordinary programs of this machine: no chroot, no mount and no
privileges are needed after the root is made. Sid moves on; a root stays as it is until its folder is removed.
"""

import glob
import importlib.util
import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

CACHE = Path(os.environ.get("FES_TEST_CACHE", "/var/cache/fes-test")).absolute()
SID = CACHE / "sid"

# Runs as root; $1 is the cache, $2 says if it needs the sid root, the rest are the packages to install.
# One run at a time (flock); the root appears under its name only when it is complete.
SCRIPT = r"""
cache=$1 sid=$2; shift 2
mkdir -p "$cache"; chmod 755 "$cache"
exec 9> "$cache/lock"; flock 9

if [ $# -gt 0 ]; then
    echo "installing: $*"
    # No service of Debian's is to start: neither now nor as a leftover of this installation.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' > $policy; chmod 755 $policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends "$@" < /dev/null
    for service in postgresql mariadb pgbouncer; do
        case " $* " in *" $service"*) service $service stop > /dev/null 2>&1 || : ;; esac
    done
fi

if [ "$sid" = sid ] && [ ! -e "$cache/sid/usr/sbin/mysqld.bin" ]; then
    echo "making the Debian sid root $cache/sid (about a minute, once)"
    root=$cache/sid.tmp
    # A run that was killed may have left mounts of debootstrap's.
    awk -v root="$root/" 'index($2, root) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount
    rm -rf --one-file-system "$root" "$cache/sid"
    debootstrap --variant=minbase --include=mysql-server-core,libgcc-s1,postgresql-18 sid "$root" \
        > "$cache/debootstrap.log" 2>&1 < /dev/null || { tail -n 30 "$cache/debootstrap.log"; exit 1; }
    # Each program becomes a script that starts it by the loader of the root that the script lies in.
    for program in sbin/mysqld lib/postgresql/18/bin/postgres lib/postgresql/18/bin/initdb; do
        mv "$root/usr/$program" "$root/usr/$program.bin"
        cat > "$root/usr/$program" <<'END'
#!/bin/sh
lib=$(echo "${0%/usr/*}"/usr/lib/*-linux-gnu)
exec "$lib"/ld-linux*.so.* --library-path "$lib" --argv0 "$0" "$0.bin" "$@"
END
        chmod 755 "$root/usr/$program"
    done
    mv "$root" "$cache/sid"
fi
"""


def postgres_bin() -> Path | None:
    """The folder of Debian's newest PostgreSQL's programs."""
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    return Path(max(found, key=lambda path: float(path.split("/")[4]))).parent if found else None


def program(name: str) -> str | None:
    """The path of a program, also of an administrator's one that is not in an ordinary user's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def missing(servers: list[str]) -> tuple[list[str], bool]:
    """The Debian packages that are missing for these servers, and whether the sid root is."""
    packages = []
    if "postgres" in servers and not postgres_bin():
        packages.append("postgresql")
    if "postgres" in servers and not program("pgbouncer"):
        packages.append("pgbouncer")
    if "mariadb" in servers and not (program("mariadbd") and program("mariadb-install-db")):
        packages.append("mariadb-server")
    if servers and not program("openssl"):
        packages.append("openssl")
    # For the tests of the C interface.
    tools = {"gcc": "gcc", "g++": "g++", "make": "make", "nm": "binutils"}
    tools |= {"pkg-config": "pkg-config", "cmake": "cmake", "valgrind": "valgrind", "doxygen": "doxygen"}
    tools |= {"clang": "clang", "meson": "meson", "php": "php-cli"}  # the smallest of the languages of examples/ffi
    if not Path("/usr/include/sqlite3.h").exists():
        packages.append("libsqlite3-dev")
    # For those of the Python binding: mysqlclient is compiled.
    tools |= {"mariadb_config": "libmariadb-dev"}
    packages += [package for name, package in tools.items() if not program(name)]
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        packages.append("python3-dev")
    if not importlib.util.find_spec("ensurepip"):
        packages.append("python3-venv")
    if "valgrind" in packages:
        packages.append("libc6-dbg")  # valgrind needs the symbols of the C library
    sid = bool({"mysql", "postgres18"} & set(servers)) and not (SID / "usr/sbin/mysqld.bin").exists()
    if sid and not program("debootstrap"):
        packages.append("debootstrap")
    return packages, sid


def command(servers: list[str], more: list[str] | None = None) -> list[str] | None:
    """The command that installs what is missing for these servers, and more packages; None if nothing is.

    Raises PermissionError, saying what to do, where it takes a privilege that we do not have.
    """
    packages, sid = missing(servers)
    packages += more or []
    if not packages and not sid:
        return None
    install = ["sh", "-ec", SCRIPT, "install", str(CACHE), "sid" if sid else "-", *packages]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        return install
    if shutil.which("apt-get") and shutil.which("sudo"):
        if subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
            return ["sudo", "-n", *install]
    wanted = [f"Debian packages: {shlex.join(packages)}"] if packages else []
    wanted += [f"the Debian sid root {SID} (MySQL and PostgreSQL 18)"] if sid else []
    lacking = [name for name in servers if missing([name]) != missing([])]
    raise PermissionError(
        "The test servers need what is missing here:\n  "
        + "\n  ".join(wanted)
        + "\nDo one of these:\n"
        "  - run tests/run once on Debian 12 as root, or as a user with passwordless sudo: it installs them;\n"
        f"  - give servers of your own: {' '.join(f'FES_TEST_{name.upper()}_URL' for name in lacking)};\n"
        f"  - leave servers out: tests/run {' '.join('--without ' + name for name in lacking)}"
    )
