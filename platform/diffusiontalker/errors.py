"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """A mistake in the input, a setting or the environment, not in the program.

    The message is one line that names what is wrong, where, and the mend. Jobs print it without a
    traceback and exit with status 2; the HTTP service turns it into a 4xx.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def needs_extra(what: str, extra: str) -> UserError:
    """The error where ``what`` needs an extra that is not installed.

    It names the project's folder, because ``diffusiontalker`` is on no package index: by that name
    alone pip would install whatever somebody else puts there.
    """
    return UserError(
        f"{what} needs more packages: run pip install '.[{extra}]' in the project's folder"
    )
