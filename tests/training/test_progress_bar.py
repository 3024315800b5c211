from biograd.training import train


def test_it_is_silent_where_standard_error_is_no_terminal(make_config, tmp_path, capfd):
    train(make_config(), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_it_is_drawn_when_asked_for_and_on_standard_error(make_config, tmp_path, capsys):
    train(make_config(rule="fa"), tmp_path, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "fa synthetic chain seed 0" in captured.err
    assert "12/12" in captured.err
