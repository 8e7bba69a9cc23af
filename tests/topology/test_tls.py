"""The table [tls] and the nodes' own certificates."""

import pytest

from pgtandem.model.topology import Certificates, Tls

from .files import CLUSTER, PAIR, load, places_of, problems_of

OWN = (
    CLUSTER + '[nodes.db1]\nport = 5432\ncertificate = "/x/db1.crt"\ncertificate_key = "/x/db1.key"\n'
    '[nodes.db2]\nport = 5433\ncertificate = "/x/../db2.crt"\ncertificate_key = "/x/db2.key"\n'
)
FOUR_FILES = [f"nodes.{node}.{key}" for node in ("db1", "db2") for key in ("certificate", "certificate_key")]


def test_without_the_table_there_is_no_tls() -> None:
    assert load(PAIR).tls is None


def test_empty_table_means_managed_certificates_and_tls_for_everybody() -> None:
    assert load(PAIR + "[tls]\n").tls == Tls(Certificates.MANAGED, required=True, ca=None)


def test_own_certificates_are_files_on_the_nodes_hosts_and_the_ca_is_one_here() -> None:
    topology = load(OWN + '[tls]\ncertificates = "own"\nca = "ca.crt"\n')
    assert topology.tls == Tls(Certificates.OWN, required=True, ca="/srv/shop/ca.crt")
    assert [(node.certificate, node.certificate_key) for node in topology.nodes] == [
        ("/x/db1.crt", "/x/db1.key"),
        ("/db2.crt", "/x/db2.key"),
    ]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (PAIR + '[tls]\ncertificates = "mine"\n', ["tls.certificates"]),
        (PAIR + '[tls]\nca = "ca.crt"\n', ["tls.ca"]),
        (OWN + '[tls]\ncertificates = "own"\n', ["tls.ca"]),
        (
            PAIR + '[tls]\ncertificates = "own"\nca = "ca.crt"\n',
            FOUR_FILES,
        ),
        (
            OWN,
            FOUR_FILES,
        ),
        (OWN.replace("/x/db1.crt", "db1.crt") + '[tls]\ncertificates = "own"\nca = "c"\n', ["nodes.db1.certificate"]),
        (PAIR + "[tls]\n[parameters]\nSSL = true\nssl_key_file = 'x'\n", ["parameters.SSL", "parameters.ssl_key_file"]),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(text: str, places: list[str]) -> None:
    assert sorted(places_of(text)) == sorted(places)


def test_truth_in_quotes_is_told_with_the_line_that_was_meant() -> None:
    (problem,) = problems_of(PAIR + '[tls]\nrequired = "false"\n')
    assert (problem.where, problem.next_step) == ("tls.required", "required = false")


def test_parameters_of_tls_are_free_where_there_is_no_table() -> None:
    assert load(PAIR + "[parameters]\nssl = true\n").parameters == {"ssl": "on"}
    assert load(PAIR + '[tls]\n[parameters]\nssl_min_protocol_version = "TLSv1.3"\n').parameters
