"""Models, data sets, the chain, keys and the system in the browser; and the data subject's page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from core import registry
from core.records import Taint
from tests.browser.conftest import Shown, Visit
from tests.browser.site import Site


@pytest.fixture
def two_versions(site: Site) -> Iterator[int]:
    """The served version and a retired one, which has forgotten the same; its number."""
    with site.backend.db.transaction() as tx:
        model = registry.lock_model(tx, registry.model_named(tx.session, "digits").id)
        parent = registry.serving(tx.session, model.id)
        assert parent is not None
        version = registry.add_version(
            tx, model, digest=parent.digest, metrics=parent.metrics, parent=parent
        )
        registry.publish(tx, version)
    yield parent.number
    with site.backend.db.transaction() as tx:
        model = registry.lock_model(tx, model.id)
        serving = registry.serving(tx.session, model.id)
        assert serving is not None
        if serving.id != version.id:
            registry.publish(tx, registry.version_numbered(tx.session, model, version.number))


def test_a_model_is_rolled_back_and_a_tainted_version_is_refused(
    site: Site, visit: Visit, shown: Shown, two_versions: int
) -> None:
    page = visit("review")
    page.goto("/admin/models")
    shown(page, "models")
    page.get_by_role("link", name="digits").first.click()
    expect(page.get_by_role("heading", name="Lineage")).to_be_visible()
    expect(page.locator("figure canvas").first).to_be_visible()
    shown(page, "model")
    page.locator("select[name=version]").select_option(str(two_versions))
    page.get_by_label("Reason").fill("the new one is worse on class 7")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("status")).to_have_text(f"Version {two_versions} is served again.")
    newer = two_versions + 1
    request_id, _ = site.post("subject-31")
    with site.backend.db.transaction() as tx:
        model = registry.model_named(tx.session, "digits")
        served = registry.version_numbered(tx.session, model, two_versions)
        tx.session.query(Taint).filter_by(version_id=served.id, request_id=request_id).delete()
    page.reload()
    expect(page.locator(".lineage")).to_contain_text("Remembers 1 request")
    shown(page, "model-tainted")
    page.locator("select[name=version]").select_option(str(newer))
    page.get_by_label("Reason").fill("it was better")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("alert")).to_contain_text("have not forgotten the same requests")
    shown(page, "model-refused")


def test_a_policy_is_edited_and_explained(visit: Visit, shown: Shown) -> None:
    page = visit("admin")
    page.goto("/admin/models/digits/policy")
    band = page.get_by_role("textbox", name="Membership (G1)")
    band.fill("2")
    page.get_by_role("button", name="Save the policy").click()
    expect(page.get_by_role("alert").first).to_contain_text("Nothing was changed")
    band.fill("0.2")
    page.get_by_role("button", name="Save the policy").click()
    expect(page.get_by_role("status")).to_have_text("The policy was changed.")
    expect(page.locator("main")).to_contain_text("At 0.2 it takes about 20 of them.")
    shown(page, "policy")
    band.fill("")
    page.get_by_role("button", name="Save the policy").click()
    expect(page.locator("main")).to_contain_text("At 0.1 it takes about 79 of them.")


def test_a_digit_is_drawn_and_a_file_is_given(visit: Visit, shown: Shown) -> None:
    page = visit("read", "predict")
    page.goto("/admin/models/digits/try")
    board = page.locator("canvas").bounding_box()
    assert board is not None
    x, y = board["x"] + 140, board["y"]
    page.mouse.move(x, y + 30)
    page.mouse.down()
    page.mouse.move(x, y + 250, steps=12)
    page.mouse.up()
    page.get_by_role("button", name="Ask the model").click()
    answer = page.locator("#prediction")
    expect(answer.locator(".big")).to_have_text("1")
    expect(answer).to_contain_text("nats")
    shown(page, "try")
    page.get_by_label("An image file").set_input_files(
        {"name": "nought.png", "mimeType": "image/png", "buffer": nought()}
    )
    expect(answer.locator(".big")).to_have_text("0")
    page.get_by_label("An image file").set_input_files(
        {"name": "words.png", "mimeType": "image/png", "buffer": b"words"}
    )
    expect(answer).to_contain_text("neither PNG nor JPEG")


def nought() -> bytes:
    image = Image.new("L", (80, 80))
    ImageDraw.Draw(image).ellipse((16, 2, 62, 76), outline=255, width=13)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_without_a_script_a_file_is_asked_about_all_the_same(visit: Visit) -> None:
    page = visit("read", "predict", script=False)
    page.goto("/admin/models/digits/try")
    expect(page.locator("canvas")).to_be_hidden()
    page.get_by_label("An image file").set_input_files(
        {"name": "nought.png", "mimeType": "image/png", "buffer": nought()}
    )
    page.get_by_role("button", name="Ask with this file").click()
    expect(page.locator("#prediction .big")).to_have_text("0")


def test_a_key_is_made_shown_once_and_revoked(visit: Visit, shown: Shown) -> None:
    page = visit("admin")
    page.goto("/admin/keys")
    page.get_by_label("Name", exact=True).fill("shop")
    page.get_by_role("checkbox", name="read").check()
    page.get_by_role("button", name="Make the key").click()
    text = page.locator("#made-key").text_content()
    assert text is not None
    assert re.fullmatch(r"key_\w+\.[\w-]{43}", text)
    shown(page, "keys-made")
    page.goto("/admin/keys")
    assert text not in page.content()
    row = page.get_by_role("row").filter(has_text="shop")
    row.get_by_text("Rotate or revoke").click()
    shown(page, "keys")
    row.get_by_role("button", name="Revoke shop").click()
    expect(page.get_by_role("row").filter(has_text="shop")).to_contain_text("Revoked")


def test_the_chain_is_verified_filtered_and_exported(visit: Visit, shown: Shown) -> None:
    page = visit("read")
    page.goto("/admin/audit")
    page.get_by_role("button", name="Verify now").click()
    expect(page.get_by_role("status")).to_contain_text("The chain holds")
    shown(page, "audit")
    page.get_by_label("About").select_option("model")
    page.wait_for_url("**noun=model**")
    expect(page.locator("tbody tr").first).to_contain_text("model")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as JSON lines").click()
    lines = download.value.path().read_text().splitlines()
    assert all('"noun":"model"' in line for line in lines)
    assert len(lines) > 1


def test_data_sets_and_the_system(visit: Visit, shown: Shown) -> None:
    page = visit("admin")
    for path, name in (
        ("/admin/datasets", "datasets"),
        ("/admin/datasets/digits", "dataset"),
        ("/admin/datasets/digits/subjects", "subjects"),
        ("/admin/datasets/digits/samples?label=3", "samples"),
        ("/admin/system", "system"),
        ("/admin/legal-holds", "holds"),
        ("/admin/jobs", "jobs"),
    ):
        page.goto(path)
        shown(page, name)


@pytest.mark.parametrize(
    ("name", "dark", "width"),
    [pytest.param("dark", True, 1280, marks=pytest.mark.long), ("narrow", False, 375)],
)
def test_these_pages_in_the_dark_and_on_a_phone(
    visit: Visit, shown: Shown, two_versions: int, name: str, dark: bool, width: int
) -> None:
    page = visit("review", "admin", "predict", dark=dark, width=width)
    for path, what in (
        ("/admin/models", "models"),
        ("/admin/models/digits", "model"),
        ("/admin/models/digits/policy", "policy"),
        ("/admin/models/digits/try", "try"),
        ("/admin/datasets/digits", "dataset"),
        ("/admin/audit", "audit"),
        ("/admin/legal-holds", "holds"),
        ("/admin/keys", "keys"),
        ("/admin/system", "system"),
    ):
        page.goto(path)
        shown(page, f"{what}-{name}")


def test_a_data_subject_opens_a_page_with_a_link_and_a_code(
    site: Site, browser: Browser, visit: Visit, shown: Shown
) -> None:
    request_id, _ = site.post("subject-40")
    officer = visit("review")
    officer.goto(f"/admin/erasure-requests/{request_id}")
    officer.get_by_role("button", name="Make a link").click()
    link, code = (officer.locator(f"#{part}").text_content() or "" for part in ("link", "code"))
    shown(officer, "status-link")
    person: Page = visit(signed_in=False, width=375)
    person.goto(link)
    person.get_by_label("Code").fill("1234")
    person.get_by_role("button", name="Show my request").click()
    expect(person.get_by_role("alert")).to_contain_text("not the right code")
    shown(person, "status-code")
    person.get_by_label("Code").fill(code)
    person.get_by_role("button", name="Show my request").click()
    expect(person.get_by_role("heading", name="We have your request")).to_be_visible()
    shown(person, "status-open")
    site.run_all()
    person.reload()
    expect(person.get_by_role("heading", name="Your data was erased")).to_be_visible()
    shown(person, "status-done")
    person.get_by_role("link", name="Read the certificate").click()
    expect(person.get_by_role("heading", name="The samples were erased")).to_be_visible()
