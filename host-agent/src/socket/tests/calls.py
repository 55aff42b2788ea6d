"""Makes the same calls to whichever server, and prints what each comes to. Times, pids and paths become their types."""
import os, re, sys, time, xmlrpc.client
from supervisor.xmlrpc import SupervisorTransport

W, O, B, M, N = ('daemon-' + c + '0' * 17 for c in 'WOBMN')
W0, W1 = W + ':' + W + '_00', W + ':' + W + '_01'
O0, B0, M0, N0 = (g + ':' + g + '_00' for g in (O, B, M, N))
server = xmlrpc.client.ServerProxy('http://localhost', transport=SupervisorTransport(None, None, sys.argv[1]), allow_none=True)

CALLS = [(('supervisor.' + name if '.' not in name else name), args) for name, *args in [
    # What there is to know.
    ('getAPIVersion',), ('getVersion',), ('getSupervisorVersion',), ('getIdentification',), ('getState',), ('getPID',),
    ('getAllProcessInfo',), ('getProcessInfo', W0), ('getProcessInfo', O0), ('getProcessInfo', B0),
    ('getProcessInfo', 'x'), ('getProcessInfo', W), ('getProcessInfo', W + ':*'), ('getProcessInfo', W + ':x'),
    ('getProcessInfo',), ('getProcessInfo', W0, 1), ('getProcessInfo', ''), ('getProcessInfo', 1),
    ('getAllConfigInfo',), ('getAllConfigInfo', 1), ('reloadConfig',), ('reloadConfig', 1),
    ('sendRemoteCommEvent', 'a', 'b'), ('sendRemoteCommEvent', 'a', 'ä'), ('sendRemoteCommEvent', 'a'),
    ('sendRemoteCommEvent', 1, 2), ('sendRemoteCommEvent', 1, 2, 3),
    # Logs.
    ('readProcessStdoutLog', W0, -6, 0), ('readProcessStdoutLog', W0, 0, 0), ('readProcessLog', W0, 0, 3),
    ('readProcessLog', W0, 3, 100), ('readProcessLog', W0, 100, 0), ('readProcessLog', W0, -6, 2),
    ('readProcessLog', W0, 0, -1), ('readProcessLog', W0, -100, 0), ('readProcessLog', W0, '0', '3'),
    ('readProcessLog', W0, 'x', 0), ('readProcessLog', W0), ('readProcessLog', W0, 0), ('readProcessLog', 'x', 0, 0),
    ('readProcessLog', W0, 0, 0, 0), ('readProcessStderrLog', W0, 0, 0), ('readProcessStderrLog', 'x', 0, 0),
    ('readProcessStderrLog', W0, 0),
    ('tailProcessStdoutLog', W0, 0, 100), ('tailProcessLog', W0, 0, 3), ('tailProcessLog', W0, 3, 3),
    ('tailProcessLog', W0, 6, 3), ('tailProcessLog', W0, 7, 3), ('tailProcessLog', W0, -1, 3),
    ('tailProcessLog', W0, 0, -3), ('tailProcessLog', W0, 0, 0), ('tailProcessLog', 'x', 0, 0),
    ('tailProcessStderrLog', W0, 0, 100), ('tailProcessStderrLog', 'x', 0, 0), ('tailProcessLog', W0, 0),
    ('clearProcessLogs', 'x'), ('clearProcessLogs',), ('clearProcessLogs', W0, 1), ('clearProcessLog', W + ':x'),
    ('clearProcessLog', W0), ('readProcessLog', W0, 0, 0), ('clearProcessLogs', O0), ('clearProcessLogs', B0),
    ('clearAllProcessLogs',), ('clearAllProcessLogs', 1), ('tailProcessLog', W0, -100, 100),
    # The server's own log: its lines differ, their types and faults do not.
    ('readLog', 0, 0), ('readMainLog', -10, 0), ('readLog', -1, 1), ('readLog', 0, -1), ('readLog',), ('readLog', 0),
    ('readLog', 0, 0, 0), ('clearLog', 1), ('clearLog',),
    # Starting and stopping.
    ('startProcess', W0), ('startProcess', W0, False), ('startProcess', W0, True, 1), ('startProcess',),
    ('startProcess', 'x'), ('startProcess', W + ':x'), ('startProcess', 'x:*'), ('startProcess', ':'),
    ('startProcess', M0), ('startProcess', N0), ('startProcess', B0), ('stopProcess', O0),
    ('startProcess', O0), ('startProcess', O0), ('stopProcess', O0, 0), ('stopProcess', O0, 'x'),
    ('stopProcess', W1), ('startProcess', W + ':*'), ('stopProcess', W + ':*', True), ('startProcess', W + ':', ''),
    ('startProcessGroup', 'x'), ('startProcessGroup', 'x:*'), ('startProcessGroup', W), ('stopProcessGroup', W),
    ('stopProcessGroup', W, True, 1), ('startProcessGroup', W, True), ('stopProcessGroup', 'x', False),
    ('stopProcessGroup',), ('startAllProcesses',), ('stopAllProcesses', True, 1), ('startAllProcesses', 1, 1),
    # Signals.
    ('signalProcess', W0, 'CONT'), ('signalProcess', W0, 'SIGCONT'), ('signalProcess', W0, 'cont'),
    ('signalProcess', W0, 18), ('signalProcess', W0, '18'), ('signalProcess', W0, 'NOPE'), ('signalProcess', W0, ''),
    ('signalProcess', W0, '0'), ('signalProcess', W0, 99), ('signalProcess', W0), ('signalProcess', 'x', 'NOPE'),
    ('signalProcess', 'x'), ('signalProcess', B0, 'CONT'), ('signalProcess', B0, 'NOPE'), ('signalProcess', W0, 'CONT', 1),
    ('signalProcess', W + ':*', 'CONT'), ('signalProcess', 'x:*', 'CONT'), ('signalProcessGroup', W, 'CONT'),
    ('signalProcessGroup', W, 'NOPE'), ('signalProcessGroup', 'x', 'NOPE'), ('signalProcessGroup', W),
    ('signalProcessGroup', B, 'CONT'), ('signalAllProcesses', 'CONT'), ('signalAllProcesses', 'NOPE'),
    ('signalAllProcesses',), ('signalAllProcesses', 'CONT', 1),
    # What is not there.
    ('nope',), ('_update', 'x'), ('__init__',), ('supervisord',), ('supervisord.options',), ('getVersion.x',),
    ('supervisor.supervisord.options.execve',), ('supervisor.getVersion.im_func',), ('supervisor.',), ('.getVersion',),
    ('supervisor..getVersion',), ('nope.getVersion',), ('system.nope',), ('system._listMethods',),
    ('system.namespaces',), ('system.namespaces.get',), ('SUPERVISOR.getVersion',), ('supervisor.getversion',),
    ('supervisor.update_text',), ('supervisor.a b',), ('getVersion', 1), ('getState', []), ('getPID', {}),
    # Introspection.
    ('system.listMethods',), ('system.listMethods', 1), ('system.methodHelp', 'x'), ('system.methodHelp',),
    ('system.methodHelp', 'supervisor.getState', 1), ('system.methodHelp', 'supervisor.getState'),
    ('system.methodSignature', 'x'), ('system.methodSignature',), ('system.methodSignature', 'supervisor._update'),
    # Many at once.
    ('system.multicall', []), ('system.multicall',), ('system.multicall', [], 1),
    ('system.multicall', [{'methodName': 'supervisor.getVersion'}]),
    ('system.multicall', [{'methodName': 'supervisor.getVersion', 'params': []},
        {'methodName': 'supervisor.stopProcess', 'params': ['x']}, {'methodName': 'supervisor.nope', 'params': []},
        {'methodName': 'system.multicall', 'params': [[]]}, {'params': []}, {},
        {'methodName': 'supervisor._update', 'params': ['x']}, {'methodName': 'supervisor.getVersion', 'params': [1]},
        {'methodName': 'system.methodHelp', 'params': ['x']}, {'methodName': 'supervisor.getState', 'other': 1},
        {'methodName': '', 'params': []}, {'methodName': 'supervisor.signalProcess', 'params': [W0, 'CONT']},
        {'methodName': 'supervisor.stopProcess', 'params': [W1]}, {'methodName': 'supervisor.startProcessGroup', 'params': [W]}]),
    ('system.multicall', [{'methodName': 'supervisor.getVersion', 'params': {}}]),
    ('system.multicall', [{'methodName': 1}]), ('system.multicall', [1]), ('system.multicall', {}), ('system.multicall', 'x'),
]]
SIGNATURES = sys.argv[2].split(',')

def plain(value, key=None):
    if isinstance(value, dict):
        if 'startretries' in value:
            return {k: 'a uid' if k == 'uid' and v in ('none', os.getuid()) else type(v).__name__ if k not in ('name', 'group', 'inuse', 'redirect_stderr', 'exitcodes', 'stopsignal', 'group_prio', 'process_prio') else v for k, v in sorted(value.items())}
        return {k: plain(v, k) for k, v in sorted(value.items())}
    if isinstance(value, list):
        parts = [plain(v) for v in value]
        # Results of a group come in the order in which its processes moved.
        return sorted(parts, key=repr) if value and isinstance(value[0], dict) and 'status' in value[0] else parts
    if key in ('pid', 'now', 'start', 'stop') and value:
        return 'some ' + type(value).__name__
    if key == 'description' and re.match(r'pid \d+, uptime \d+:\d\d:\d\d$', value):
        return 'pid P, uptime T'
    if key in ('logfile', 'stdout_logfile') and value.startswith('/'):
        return 'a path'
    return value

def outcome(method, args):
    func = server
    try:
        for part in method.split('.'):
            func = xmlrpc.client._Method(server._ServerProxy__request, method)
        value = func(*args)
    except xmlrpc.client.Fault as fault:
        return '%d %s' % (fault.faultCode, fault.faultString)
    except xmlrpc.client.ProtocolError as error:
        return 'HTTP %d' % error.errcode
    if method in ('supervisor.getPID', 'supervisor.readLog', 'supervisor.readMainLog', 'system.methodHelp'):
        return type(value).__name__
    if method == 'system.listMethods':
        return repr([name for name in value if not name.startswith('zhylon.')])
    return repr(plain(value))

def short(text):
    text = re.sub(r"daemon-([WOBMN])0{17}", r'\1', text)
    return re.sub(r"/does/not/exist|/bin/server|/[^' ]*/noexec", 'PROGRAM', text)

def rest():
    """Waits while something stops. A signal that meets a process before its exec is lost: it is killed after its grace."""
    while any(info['state'] == 40 for info in server.supervisor.getAllProcessInfo()):
        time.sleep(0.01)

for method, args in CALLS:
    rest()
    print(short('%s%r -> %s' % (method, tuple(args), outcome(method, args))))
for method in SIGNATURES:
    print('methodSignature(%s) -> %s' % (method, outcome('system.methodSignature', [method])))
