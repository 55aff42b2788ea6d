//! Python's own XML-RPC over Supervisor's transport, as monitoring scripts use it.

use std::process::Command;
use zhylon_shared::state::InstanceState::Running;

use super::clients::has_debians_client;
use super::served::Served;

const SCRIPT: &str = r#"
import sys, xmlrpc.client
from supervisor.xmlrpc import SupervisorTransport
server = xmlrpc.client.ServerProxy('http://localhost', transport=SupervisorTransport(None, None, sys.argv[1]))
s = server.supervisor
def fault(call, *args):
    try:
        call(*args)
    except xmlrpc.client.Fault as f:
        return f.faultCode, f.faultString
    raise SystemExit('no fault')
assert s.getAPIVersion() == '3.0'
info, = s.getAllProcessInfo()
assert info == {**info, 'name': 'daemon-web000000000000000_00', 'group': 'daemon-web000000000000000',
    'state': 20, 'statename': 'RUNNING', 'exitstatus': 0, 'spawnerr': ''}, info
assert all(type(info[k]) is int for k in ('start', 'stop', 'now', 'state', 'exitstatus', 'pid')), info
assert info['description'] == 'pid %d, uptime 0:00:06' % info['pid'], info
assert len(info) == 14, info
single = s.getProcessInfo('daemon-web000000000000000:daemon-web000000000000000_00')
assert {**single, 'now': 0, 'start': 0, 'description': ''} == {**info, 'now': 0, 'start': 0, 'description': ''}
assert s.stopProcess('daemon-h:web000000000000000:*', False) == [
    {'name': info['name'], 'group': info['group'], 'status': 80, 'description': 'OK'}]
assert s.startProcess('daemon-web000000000000000:daemon-web000000000000000_00', True) is True
assert fault(s.startProcess, 'nöpe <&>') == (10, 'BAD_NAME: nöpe <&>')
assert fault(s.startProcess) == (2, 'INCORRECT_PARAMETERS')
assert fault(s.startProcess, 1) == (2, 'INCORRECT_PARAMETERS')
assert fault(server.nope) == (1, 'UNKNOWN_METHOD')
assert s.tailProcessStdoutLog('daemon-web000000000000000', 0, 6) == ['wörld', 12, True], s.tailProcessStdoutLog('daemon-web000000000000000', 0, 6)
multi = xmlrpc.client.MultiCall(server)
assert server.system.multicall([{'methodName': 'supervisor.getPID', 'params': []}]) == [s.getPID()]
assert server.zhylon.readLog('daemon-web000000000000000', 6).data == 'wörld'.encode()
print('done')
"#;

#[test]
fn pythons_types_are_right() {
    if !has_debians_client("pythons_types_are_right") {
        return;
    }
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served
        .fake
        .edit(id, |one| one.log = Some("hello\nwörld".as_bytes().to_vec()));
    let output = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT, &served.url()])
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n", "{err}");
}
