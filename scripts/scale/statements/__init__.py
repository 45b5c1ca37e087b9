"""The SQL that the tests send, judged by the documented limits of Vitess and TiDB."""
