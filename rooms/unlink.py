import os,shutil,sys,glob
n=0
for t in glob.glob('/work/cache/t-*/debug')+['/work/main/target/debug']:
    for sub in ('.fingerprint','build'):
        for d,_,fs in os.walk(os.path.join(t,sub)):
            for f in fs:
                p=os.path.join(d,f)
                try:
                    st=os.lstat(p)
                    if st.st_nlink>1 and not os.path.islink(p):
                        shutil.copy2(p,p+'.cp~'); os.replace(p+'.cp~',p); n+=1
                except OSError as e: print(e)
print(n)
