"""A user whom the system does not know, without a home, as containers have them."""

from __future__ import annotations

from tests.processes.conftest import Program
from tests.support.monolith import SetEnvironment
from tools.sandbox import RunningSandbox


def test_uploads_go_on_and_the_state_has_a_place(
    configured: RunningSandbox, set_environment: SetEnvironment, program: Program
) -> None:
    """Legacy serves, and the state belongs where `HOME=/` would have it; who may not write there keeps none."""
    set_environment(SHIM_HOME=None)
    said = program(
        """
        import pwd
        def unknown(uid):
            raise KeyError(f"getpwuid(): uid not found: {uid}")
        pwd.getpwuid = unknown
        for name in ("HOME", "XDG_STATE_HOME"):
            os.environ.pop(name, None)
        from shim.settings import ShimSettings
        home = ShimSettings().shim_home
        from shim.process import who_acts
        os.environ["SHIM_HOME"] = "/proc/nothing-can-be-made-here"  # where a user without rights stands before "/"
        from tools.application import app
        with app.running():
            answer = upload("nameless")
        print(json.dumps({"home": str(home), "id": answer["kimi_file_id"], "actor": who_acts()}))
        """
    )
    assert said["home"] == "/.local/state/shim"
    assert said["actor"].startswith("user ")
    assert [each["id"] for each in configured.state()["kimi"]["files"]] == [said["id"]]
