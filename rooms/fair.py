import os,time,re
# keeps every session at autogroup nice 0 that raised itself; the sessions named in keep.txt get the nice written there
while True:
    keep={}
    try:
        for l in open('/work/rooms/keep.txt'):
            pat,n=l.rsplit(None,1); keep[pat]=n
    except Exception: pass
    for p in os.listdir('/proc'):
        if not p.isdigit(): continue
        try:
            a=open(f'/proc/{p}/autogroup').read(); c=open(f'/proc/{p}/cmdline').read().replace('\0',' ')
            want=None
            for pat,n in keep.items():
                if pat in c: want=n
            cur=re.search(r'nice (-?\d+)',a)
            if cur is None: continue
            cur=cur.group(1)
            if want is None and int(cur)<0: want='0'
            if want is not None and want!=cur: open(f'/proc/{p}/autogroup','w').write(want)
        except Exception: pass
    time.sleep(8)
