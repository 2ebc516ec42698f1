"""Layouts: what they say of axes, and how they are named."""

import pytest

from connectivity_hooks.errors import InputError, UsageError
from connectivity_hooks.features.layout import Layout, Named, check_layers, usual


def test_what_is_neither_samples_nor_neurons_is_a_position():
    assert Layout(1, (2,)).positions(3) == (0,)
    assert Layout(0, (1, 3)).positions(4) == (2,)
    assert Layout(0, (3,)).fits(4)
    assert not Layout(0, (3,)).fits(3)


@pytest.mark.parametrize("letters", ["NC", "NLC", "LNC", "NCL", "NHWC", "NCHW", "NCLC"])
def test_letters_name_a_layout_and_a_layout_its_letters(letters):
    assert Named(letters).of("any", len(letters)).letters(len(letters)) == letters


def test_a_layout_for_one_layer_goes_before_one_for_all():
    named = Named(["TNC", "NHWC", "encoder.*=NTC", "twice[1]=NCT"])
    assert named.of("head", 3) == Layout(1, (2,))
    assert named.of("head", 4) == Layout(0, (3,))
    assert named.of("head", 2) is None
    assert named.of("encoder.layers.0", 3) == Layout(0, (2,))
    assert named.of("twice[1]", 3) == Layout(0, (1,))
    assert Named({"encoder.*": "TNC"}).of("encoder.layers.0", 3) == Layout(1, (2,))
    assert Named().of("head", 3) is None


@pytest.mark.parametrize("named", ["TC", "NNC", "NT", "tnc", "N", "", "encoder=", "encoder=NTD"])
def test_what_is_no_layout_is_refused(named):
    with pytest.raises(UsageError, match="N for the samples and C for the neurons"):
        Named(named)


def test_a_layout_of_another_number_of_axes_is_refused_for_its_layer():
    with pytest.raises(InputError, match="layout TNC was named for it, and its output has 4 axes"):
        Named("encoder=TNC").of("encoder", 4)


def test_the_usual_layouts_are_those_of_pytorch():
    assert [usual(ndim).letters(ndim) for ndim in (2, 3, 4)] == ["NC", "NLC", "NCHW"]


@pytest.mark.parametrize("named", [["0=NC", "0=CN"], ["TNC", "NTC"]])
def test_two_layouts_for_the_same_layers_are_refused(named):
    with pytest.raises(UsageError, match=r"another is named for (0|layers of 3 axes) already"):
        Named(named)


def test_a_layout_for_no_layer_before_its_sign_is_refused():
    with pytest.raises(UsageError, match="'=NC': names no layer"):
        Named(["=NC"])


@pytest.mark.parametrize(("named", "near"), [("encder=TNC", "'encoder'"), ("0=NC=NC", "known"), ("dec*=NTC", "enc")])
def test_a_layout_for_a_layer_that_is_not_there_is_refused(named, near):
    with pytest.raises(UsageError, match=rf"layout .*: no layer .* in Net; .*{near}"):
        check_layers(named, ["encoder", "encoder.0"], "Net")


def test_a_layout_for_calls_inputs_and_globs_of_a_layer_is_taken():
    check_layers(
        ["encoder[1]=TNC", "encoder:input=TNC", "enc*=TNC", "encoder.0:input[0]=NC", "NC"],
        ["encoder", "encoder.0"],
        "Net",
    )


def test_layouts_that_nobody_asked_for_are_told():
    named = Named(["TNC", "NHWC", "head=NTC", "body=NTC"])
    assert (named.of("body", 3), named.of("other", 4)) == (Layout(0, (2,)), Layout(0, (3,)))
    assert named.unused() == [
        "TNC: no layer that is looked at has 3 axes",
        "head=NTC: head is not among the layers that are looked at",
    ]
